# SPDX-License-Identifier: Apache-2.0
"""Grafana knows all of the dashboard, and the dashboard asks Prometheus for metrics that dedangle writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from promtool import promtool

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "deploy" / "grafana" / "dedangle.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
METRIC = r"\bdedangle_\w+"


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    register_default_plugins()
    known = json.loads(json.dumps(Dashboard.from_json(DASHBOARD), cls=JSONEncoder))
    assert list(unknown(DASHBOARD, known)) == []


def unknown(given: Any, known: Any, where: str = "dashboard") -> Iterator[str]:
    """Yield each field that was dropped or changed; Grafana's own types add the fields that have a default."""
    if isinstance(given, dict) and isinstance(known, dict):
        for name, value in given.items():
            yield from unknown(value, known.get(name), f"{where}.{name}")
    elif isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        for index, (own, other) in enumerate(zip(given, known, strict=True)):
            yield from unknown(own, other, f"{where}[{index}]")
    elif given != known:
        yield where


def test_grafana_can_place_every_panel() -> None:
    assert (DASHBOARD["uid"], DASHBOARD["title"]) == ("dedangle", "dedangle")
    assert DASHBOARD["schemaVersion"] == Dashboard().schema_version
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_asks_for_metrics_that_are_written(written: set[str], tmp_path: Path) -> None:
    assert PANELS
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    assert all(panel["targets"] for panel in PANELS)
    assert all(re.findall(METRIC, query) for query in queries)
    assert set(re.findall(METRIC, " ".join(queries))) <= written
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS))) == variables
    # Prometheus parses what a recording rule asks for.
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = promtool("check", "rules", "queries.yml", directory=tmp_path)
    assert (code, f"{len(queries)} rules found" in said) == (0, True), said
