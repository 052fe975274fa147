# SPDX-License-Identifier: Apache-2.0
"""A reservation of a server that Nova has purged is removed with --assume-deleted alone."""

import uuid

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from shell import Dedangle


def test_a_purged_server_is_cleaned_when_an_operator_vouches(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    stage.server(0)
    purged, volume, used = str(uuid.uuid4()), stage.user.volume(), stage.user.volume()
    reserved = stage.breaks.reserve_attachment(purged, volume)
    connected = stage.breaks.attach_unknown(purged, used, "lab-compute-1")
    before = rows.snapshot(cloud.home)
    execute = ("cleanup", purged, "--execute", "--yes", "-f", "json")
    kept = dedangle(*execute)
    assert {each["code"] for each in kept.findings} == {"attachment-unknown-owner"}
    assert "--assume-deleted" in kept.findings[0]["reason"]
    assert rows.diff(before, rows.snapshot(cloud.home)) == []

    done = dedangle(*execute, "--assume-deleted")
    outcomes = {each["attachment_id"]: each["outcome"] for each in done.findings}
    assert outcomes == {reserved: "removed", connected: None}
    once = rows.snapshot(cloud.home)
    assert [str(each["id"]) for each in once.attachments_of(purged)] == [connected]
    assert once.volumes[volume]["status"] == "available"
    dedangle(*execute, "--assume-deleted")
    assert rows.diff(once, rows.snapshot(cloud.home)) == []
