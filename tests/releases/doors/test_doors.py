# SPDX-License-Identifier: Apache-2.0
"""What the audit, the command, the sweep and the undo do to the databases of a release."""

import json
import re
from typing import Any

from deployment import Deployment
from world import Pair, World


def test_audit_finds_what_dangles_and_changes_nothing(
    deployment: Deployment, world: World, bulk: dict[str, str]
) -> None:
    healthy, lost, gone, unused, foreign = (
        world.healthy(),
        world.lost_attachment(),
        world.mapped_by_deleted_server(),
        world.never_used(),
        world.foreign(),
    )
    before = [_rows(world, each) for each in (healthy, lost, gone)]
    done = deployment.dedangle("audit", "-f", "json", **bulk)
    assert (done.code, done.err.count("Not checked")) == (0, 0), done.err
    found = {(each["code"], each["volume_id"]) for each in json.loads(done.out)}
    assert {
        ("mapping-without-attachment", lost.volume),
        ("mapping-of-deleted-server", gone.volume),
        ("attachment-of-deleted-server", gone.volume),
        ("attachment-never-used", unused.volume),
        ("attachment-unknown-owner", foreign.volume),
    } <= found
    assert healthy.volume not in {volume for _, volume in found}
    assert [_rows(world, each) for each in (healthy, lost, gone)] == before


def test_command_removes_a_mapping_as_nova_deletes_it(deployment: Deployment, world: World) -> None:
    healthy, lost = world.healthy(), world.lost_attachment()
    before, row = _rows(world, healthy), world.mapping(lost)
    done = deployment.dedangle("cleanup", lost.server, "--no-host", "--execute", "--yes")
    assert done.code == 0, done.err
    removed = world.mapping(lost)
    assert removed["deleted"] == row["id"]
    assert {name for name in row if row[name] != removed[name]} == {"deleted", "deleted_at"}
    assert world.actions(lost.server) == ["dedangle_cleanup: Success"]
    assert _rows(world, healthy) == before


def test_undo_brings_a_mapping_back(deployment: Deployment, world: World) -> None:
    lost = world.lost_attachment(offloaded=True)
    row = world.mapping(lost)
    assert deployment.dedangle("cleanup", lost.server, "--execute", "--yes").code == 0
    assert world.mapping(lost)["deleted"] == row["id"]
    (entry,) = json.loads(deployment.dedangle("journal", "list", "--server", lost.server, "-f", "json").out)
    done = deployment.dedangle("undo", entry["entry"], "--execute", "--yes")
    assert done.code == 0, done.err
    (restored,) = world.mappings(lost.server)
    reserved = world.attachment(Pair(lost.server, lost.volume, restored["attachment_id"]))
    assert (reserved["volume_id"], reserved["instance_uuid"]) == (lost.volume, lost.server)
    assert reserved["attach_status"] == world.volume(lost)["status"] == "reserved"


def test_sweep_removes_what_may_go_unattended(deployment: Deployment, world: World, bulk: dict[str, str]) -> None:
    kept = [world.healthy(), world.lost_attachment(), world.foreign()]
    gone, unused = world.mapped_by_deleted_server(), world.never_used()
    before = [world.attachment(each) for each in kept], [world.mapping(each) for each in kept[:2]]
    done = deployment.dedangle("sweep", "--execute", "--yes", **bulk)
    assert done.code == 0, done.err
    assert re.search(r"\d removed", done.err)
    assert world.mapping(gone)["deleted"] == world.mapping(gone)["id"]
    for each in (gone, unused):
        assert (world.attachment(each)["deleted"], world.attachment(each)["attach_status"]) == (1, "detached")
        assert world.volume(each)["status"] == "available"
    assert ([world.attachment(each) for each in kept], [world.mapping(each) for each in kept[:2]]) == before

    done = deployment.dedangle("sweep", "--execute", "--yes", "--detailed-exit-code", **bulk)
    assert done.code == 3, done.err
    assert not re.search(r"\d removed", done.err)


def _rows(world: World, pair: Pair) -> tuple[dict[str, Any], ...]:
    return world.mapping(pair), world.attachment(pair), world.volume(pair)
