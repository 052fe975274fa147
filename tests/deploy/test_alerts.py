# SPDX-License-Identifier: Apache-2.0
"""Prometheus reads the alert rules, each of them fires, and each leads to its section of the manual."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from promtool import promtool

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
MANUAL = ROOT / "docs" / "monitoring.md"
METRICS = ROOT / "docs" / "metrics.md"
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "dedangle.rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
METRIC = r"\bdedangle_\w+"


def test_prometheus_takes_the_rules_and_they_fire() -> None:
    code, said = promtool("check", "rules", "dedangle.rules.yml", directory=PROMETHEUS)
    assert (code, f"{len(RULES)} rules found" in said) == (0, True), said
    code, said = promtool("test", "rules", "dedangle.test.yml", directory=PROMETHEUS)
    assert (code, "SUCCESS" in said) == (0, True), said
    tests = yaml.safe_load((PROMETHEUS / "dedangle.test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_its_section_of_the_manual(rule: dict[str, Any], written: set[str]) -> None:
    assert set(re.findall(METRIC, rule["expr"])) <= written
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].rpartition("/")[2].partition("#")
    assert page == f"{MANUAL.stem}.html"
    assert anchor == rule["alert"].lower()
    assert f"### {rule['alert']}\n" in MANUAL.read_text()


def test_the_manual_names_every_metric(written: set[str]) -> None:
    assert set(re.findall(METRIC, METRICS.read_text())) == written
