# SPDX-License-Identifier: Apache-2.0
"""The connection that Cinder returns is a secret, and no log has it."""

from pathlib import Path

from cases.stage import Stage
from shell import Dedangle


def test_not_even_a_debug_log_has_a_connection(dedangle: Dedangle, stage: Stage, tmp_path: Path) -> None:
    server = stage.server(2)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    log = tmp_path / "debug.log"
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "debug.conf").write_text(
        f"[DEFAULT]\ndebug = true\nlog_file = {log}\ndefault_log_levels = keystoneauth=DEBUG,urllib3=DEBUG\n"
    )
    done = dedangle("--config-dir", str(tmp_path / "conf.d"), "audit", "--server", server.id, "-f", "json")
    assert done.findings[0]["code"] == "mapping-without-attachment"
    told = log.read_text()
    assert "/attachments" in told
    assert not [each for each in ("connection_info", "driver_volume_type", "X-Subject-Token: gAAAA") if each in told]
