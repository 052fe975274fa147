# SPDX-License-Identifier: Apache-2.0
"""nova-compute is killed at every step of a reboot's clean-up, and what it left is finished when it is back."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder, Server
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from shell import THOROUGH


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kill") / "plan"


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory, plan: Path) -> Iterator[Cloud]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("DEDANGLE_KILL_PLAN", str(plan))
        with Cloud(tmp_path_factory.mktemp("mortal"), manager="killing.KillingManager") as cloud:
            yield cloud


@pytest.mark.parametrize("kind", ["HARD", pytest.param("SOFT", marks=pytest.mark.thorough)])
def test_a_lost_attachment_s_mapping_goes_whenever_nova_compute_is_killed(mortal: Cloud, plan: Path, kind: str) -> None:
    builder = Builder(mortal)
    breaker = Breaker(builder)
    server = builder.server("mortal", 2)

    def lose() -> None:
        if server.volumes[2] not in mapped(mortal, server.id):
            builder.attach(server.id, server.volumes[2])
        breaker.lose_attachment(server.id, server.volumes[2])

    steps = kill_at_every_step(mortal, plan, server, kind, lose)
    assert len(steps) >= 3
    if THOROUGH:
        assert {"before _append", "after save", "after power_off", "before detach_volume"} <= steps
        assert {"after detach_volume", "before soft_delete_mapping", "after soft_delete_mapping", "done"} <= steps


@pytest.mark.thorough
def test_a_forgotten_attachment_goes_whenever_nova_compute_is_killed(mortal: Cloud, plan: Path) -> None:
    builder = Builder(mortal)
    breaker = Breaker(builder)
    server = builder.server("mortal", 1)
    volume = builder.volume()
    steps = kill_at_every_step(mortal, plan, server, "SOFT", lambda: breaker.reserve_attachment(server.id, volume))
    assert len(steps) >= 2
    if THOROUGH:
        assert {"before _append", "before delete_attachment", "after delete_attachment", "done"} <= steps


def kill_at_every_step(cloud: Cloud, plan: Path, server: Server, kind: str, break_it: Callable[[], object]) -> set[str]:
    """Return the steps at which nova-compute died, each followed by its restart and one more reboot."""
    builder = Builder(cloud)
    died: list[str] = []
    for step in itertools.count(1, 1 if THOROUGH else 3):
        break_it()
        healthy = {*server.volumes[:2]}
        before = rows.snapshot(cloud.home)
        plan.write_text(str(step))
        builder.user.nova("POST", f"/servers/{server.id}/action", {"reboot": {"type": kind}}, expect=202)
        wait_for("the end of the reboot or of nova", lambda: not cloud.is_running("nova") or idle(cloud, server.id))
        if cloud.is_running("nova"):
            plan.unlink()
            break
        died.append(json.loads(plan.with_suffix(".passed").read_text())[-1])
        cloud.start("nova")
        wait_for("the server's reboot, begun again", lambda: idle(cloud, server.id))
        # What the restart did not do, the next reboot does.
        builder.reboot(server.id)
        now = rows.snapshot(cloud.home)
        assert mapped(cloud, server.id) == healthy, died[-1]
        assert {each["volume_id"] for each in now.attachments_of(server.id)} == healthy, died[-1]
        assert builder.status(server.id) == "ACTIVE", died[-1]
        changed = [each for each in rows.diff(before, now) if each.table != "servers"]
        assert [each for each in changed if (each.before or {}).get("volume_id") in healthy] == [], died[-1]
    return set(died)


def mapped(cloud: Cloud, server: str) -> set[object]:
    return {each["volume_id"] for each in rows.snapshot(cloud.home).mappings_of(server)}


def idle(cloud: Cloud, server: str) -> bool:
    return rows.snapshot(cloud.home).servers[f"cell1/{server}"]["task_state"] is None
