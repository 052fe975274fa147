# SPDX-License-Identifier: Apache-2.0
"""A shelved server whose mapping names a lost attachment is relinked to the one that is reserved, and comes back."""

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from shell import Dedangle


def changes(before: rows.Snapshot, after: rows.Snapshot) -> list[rows.Change]:
    """What changed beyond the servers themselves, whose power state Nova goes on to write after a shelve."""
    return [each for each in rows.diff(before, after) if each.table != "servers"]


def test_a_relinked_server_unshelves_with_its_disk(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server = stage.server()
    stage.user.shelve_offload(server.id)
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    replacement = stage.breaks.reserve_attachment(server.id, server.volumes[1])
    before = rows.snapshot(cloud.home)

    (found,) = [
        each
        for each in dedangle("cleanup", server.id, "-f", "json").findings
        if each["code"] == "mapping-names-lost-attachment"
    ]
    assert (found["remedy"], found["disposition"]) == ("relink-mapping", "report")
    planned = dedangle("cleanup", server.id, "--relink", "-f", "json").findings
    assert {"relink", "report"} == {each["disposition"] for each in planned}
    assert not changes(before, rows.snapshot(cloud.home))

    done = dedangle("cleanup", server.id, "--relink", "--execute", "--yes", "-f", "json")
    assert {"relinked", None} == {each["outcome"] for each in done.findings}
    once = rows.snapshot(cloud.home)
    (change,) = changes(before, once)
    assert change.columns["attachment_id"] == (found["attachment_id"], replacement)
    dedangle("cleanup", server.id, "--relink", "--execute", "--yes")
    assert not changes(once, rows.snapshot(cloud.home))

    stage.user.unshelve(server.id)
    after = rows.snapshot(cloud.home)
    assert {str(each["id"]) for each in after.attachments_of(server.id)} == {
        str(each["attachment_id"]) for each in after.mappings_of(server.id)
    }
    assert replacement in after.attachments
    assert after.volumes[server.volumes[1]]["status"] == "in-use"


def test_a_running_server_is_not_relinked(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    server = stage.server()
    stage.breaks.lose_attachment(server.id, server.volumes[1])
    stage.breaks.reserve_attachment(server.id, server.volumes[1])
    before = rows.snapshot(cloud.home)
    done = dedangle("cleanup", server.id, "--relink", "--no-host", "--execute", "--yes", "-f", "json")
    assert {"report"} == {each["disposition"] for each in done.findings}
    assert not changes(before, rows.snapshot(cloud.home))
