# SPDX-License-Identifier: Apache-2.0
"""What leave to stop a running server changes, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest
from table_rows import world
from worlds import NO_STATE, attachment, findings, mapping, policy, server, stopped

from dedangle.core.decisions import Disposition, Door
from dedangle.core.records import Server

LOST = {"mappings": (mapping("A"),), "status": "available"}


def disposition(one: Server, **allowed: Any) -> Disposition:
    (finding,) = findings(world(servers=(one,), **LOST), policy=policy(Door.COMMAND, **allowed))
    return finding.disposition


def test_a_running_server_is_judged_as_if_it_were_stopped() -> None:
    assert disposition(server(), no_host=True) is Disposition.REPORT
    assert disposition(server(), no_host=True, restart=True) is Disposition.REMOVE


def test_it_does_not_stand_for_leave_to_go_without_the_host() -> None:
    assert disposition(server(), restart=True) is Disposition.REPORT


@pytest.mark.parametrize("vm_state", ["paused", "suspended", "rescued", "error", "stopped"])
def test_only_an_active_server_is_stopped_and_started(vm_state: str) -> None:
    one = server(vm_state, power_state=NO_STATE)
    (finding,) = findings(world(servers=(one,), **LOST), policy=policy(Door.COMMAND, no_host=True, restart=True))
    assert finding.disposition is Disposition.REPORT
    assert "--restart only works on an ACTIVE server" in finding.reason


def test_a_root_disk_stays_where_a_server_is_to_start_again() -> None:
    root = world(servers=(server(),), mappings=(mapping("A", boot_index=0),), status="available")
    allowed = policy(Door.COMMAND, no_host=True, restart=True, allow_root=True)
    assert [each.disposition for each in findings(root, policy=allowed)] == [Disposition.PROTECT]


def test_a_mapping_of_a_running_server_is_not_relinked() -> None:
    replacement = attachment("B", "reserved")
    allowed = {"relink": True, "restart": True}
    for one, expected in ((server(), Disposition.REPORT), (stopped(), Disposition.RELINK)):
        found = findings(
            world(servers=(one,), mappings=(mapping("A"),), attachments=(replacement,), status="reserved"),
            policy=policy(Door.COMMAND, **allowed),
        )
        relinks = [each.disposition for each in found if each.code == "mapping-names-lost-attachment"]
        assert relinks == [expected]
