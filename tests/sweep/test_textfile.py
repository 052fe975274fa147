# SPDX-License-Identifier: Apache-2.0
"""The metrics of an audit are those of the whole cloud, and never count as a sweep's."""

from __future__ import annotations

from pathlib import Path

import pytest

from cases.stage import Stage
from dedangle.cli.main import main
from dedangle.lab.cloud import Cloud
from shell import Dedangle


@pytest.mark.parametrize("option", ["--server", "--volume", "--cell", "--host", "--project"])
def test_a_part_of_the_cloud_has_no_metrics(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    textfile = tmp_path / "audit.prom"
    assert main(["audit", "--textfile", str(textfile), option, "some"]) == 2
    told = capsys.readouterr()
    # The time is before it.
    assert (told.out, told.err.partition("Z ")[2]) == (
        "",
        f"--textfile writes metrics of the whole cloud, but {option} selects a part of it. "
        f"Remove --textfile, or remove {option}.\n",
    )
    assert list(tmp_path.iterdir()) == []


def samples(path: Path) -> dict[str, float]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_an_audit_of_the_whole_cloud(cloud: Cloud, dedangle: Dedangle, tmp_path: Path) -> None:
    stage = Stage(cloud)
    server = stage.server(0)
    stage.breaks.reserve_attachment(server.id, stage.user.volume())
    configuration = tmp_path / "textfile.conf"
    configuration.write_text(f"[dedangle]\ntextfile_dir = {tmp_path}\n")
    options = ("--config-file", str(configuration))
    path, success = tmp_path / "dedangle-audit.prom", "dedangle_audit_last_success_timestamp_seconds"
    # The whole cloud is what textfile_dir is for; of a part there are no figures.
    assert dedangle("audit", "--server", server.id, *options).code == 0
    assert not path.exists()
    assert dedangle("audit", *options).code == 0
    assert dedangle("sweep", *options).code == 0
    first = samples(path)
    assert first[success] > 0
    assert first["dedangle_audit_run_complete"] == 1
    assert any('code="attachment-never-used"' in name for name in first if name.startswith("dedangle_audit_findings"))
    assert [name for name in first if not name.startswith("dedangle_audit_")] == []
    swept = samples(tmp_path / "dedangle.prom")
    assert [name for name in swept if name.startswith("dedangle_audit_")] == []
    assert swept['dedangle_last_success_timestamp_seconds{shard="1/1"}'] > first[success]
    with cloud.faults.inject("cinder", method="GET", path=r"/v3/.*attachments", status=500):
        assert dedangle("audit", "--textfile", str(path), *options).code == 5
    second = samples(path)
    assert (second["dedangle_audit_run_complete"], second[success]) == (0, first[success])
    # Neither counts as the other, even in one file.
    assert dedangle("sweep", "--textfile", str(path), *options).code == 0
    third = samples(path)
    assert third.items() > second.items()
    assert third['dedangle_last_success_timestamp_seconds{shard="1/1"}'] > first[success]
