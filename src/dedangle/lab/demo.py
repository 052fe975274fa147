# SPDX-License-Identifier: Apache-2.0
"""`python -m dedangle.lab.demo`: a cloud is broken as clouds break, and cleaned through all three doors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder, Server
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import LabError

HOME = Path(".lab/demo")


@dataclass
class Broken:
    """What the demo broke: the servers, by the door that cleans them, and the keys of the rows that must go."""

    rebooted: Server
    stopped: Server
    swept: list[str]
    names: dict[str, str]
    mappings: set[str] = field(default_factory=set)
    attachments: set[str] = field(default_factory=set)


class Demo:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._began = time.monotonic()
        self._healthy: dict[str, str] = {}

    def progress(self, line: str) -> None:
        print(f"[{time.monotonic() - self._began:5.1f} s] {line}", flush=True)

    def step(self, line: str) -> None:
        print(flush=True)
        self.progress(f"== {line}")

    def run(self) -> bool:
        """Run all steps; return whether all dangling rows are gone and nothing else has changed."""
        self.step("Healthy servers in two projects, one of them shelved, and a volume of Glance's")
        self.make_healthy()
        self.step("The cloud breaks")
        broken = self.break_cloud()
        before = rows.snapshot(self.cloud.home)
        self.step("Before: what Nova's and Cinder's databases hold of the broken servers")
        self.show(before, broken)

        self.step("dedangle audit: it looks at every server of every cell, and changes nothing")
        self.dedangle("audit")
        self.step("A hard reboot through Nova's API: nova-compute cleans the server while its guest is off")
        self.reboot(broken.rebooted)
        self.step("dedangle cleanup SERVER: the plan for a stopped server, which changes nothing")
        self.dedangle("cleanup", broken.stopped.id, "--no-host")
        self.step("dedangle cleanup SERVER --execute: the same, done")
        self.dedangle("cleanup", broken.stopped.id, "--no-host", "--execute", "--yes")
        self.step("dedangle sweep --execute: all the rest, as cron would (the lab's grace_period is 0)")
        self.dedangle("sweep", "--execute", "--yes")
        self.step("dedangle sweep --execute once more: a second run changes nothing")
        self.dedangle("sweep", "--execute", "--yes")
        self.step("dedangle audit: clean")
        left = json.loads(self.dedangle("audit", "-f", "json"))

        after = rows.snapshot(self.cloud.home)
        self.step("After: the same rows of both databases")
        self.show(after, broken)
        return self.judge(before, after, broken, left)

    def make_healthy(self) -> None:
        for project in ("p1", "p2"):
            builder = Builder(self.cloud, project)
            server = builder.server(f"healthy-{project}", 2)
            self._healthy[server.id] = f"a server of {project} with 3 volumes"
            self.progress(self._healthy[server.id])
        builder = Builder(self.cloud, "p2")
        shelved = builder.server("shelved", 1)
        builder.shelve_offload(shelved.id)
        self._healthy[shelved.id] = "a shelved-offloaded server: its attachments stay reserved, and that is healthy"
        self.progress(self._healthy[shelved.id])
        Breaker(builder).glance_like_attachment(builder.volume(name="image"))
        self.progress("an attachment that names no server, as Glance's Cinder store makes them")

    def break_cloud(self) -> Broken:
        one, two = Builder(self.cloud, "p1"), Builder(self.cloud, "p2")
        break_one, break_two = Breaker(one), Breaker(two)

        rebooted = one.server("lost", 3)
        break_one.lose_attachment(rebooted.id, rebooted.volumes[1])
        self.progress("lost: an attachment was deleted in Cinder behind Nova's back, with a service token")
        break_one.reset_status(rebooted.volumes[2])
        self.progress("lost: an administrator reset another volume to available/detached")

        stopped = two.server("orphaned", 2)
        break_two.delete_volume_behind(stopped.volumes[1])
        two.stop(stopped.id)
        self.progress("orphaned: a volume was reset in the same way and then deleted; the server is stopped")

        reserved = one.server("reserved", 1)
        for _ in range(2):
            break_one.reserve_attachment(reserved.id, one.volume())
        self.progress("reserved: two attachments were reserved, and Nova never learnt of them")

        gone = two.server("gone", 1)
        break_two.delete_server_while_cinder_fails(gone.id)
        self.progress("gone: the server was deleted while Cinder answered 500, and Cinder kept its attachments")

        late = one.server("late", 1)
        break_one.mapping_of_deleted_server(late.id)
        self.progress("late: an attach finished after the server was deleted, and Nova kept its mappings")

        half = two.server("half", 1)
        break_two.mapping_never_attached(half.id, two.volume())
        self.progress("half: an attach died before it asked Cinder, a day ago, and Nova kept its mapping")

        names = {
            rebooted.id: "lost",
            stopped.id: "orphaned",
            reserved.id: "reserved",
            gone.id: "gone",
            late.id: "late",
            half.id: "half",
        }
        broken = Broken(rebooted, stopped, [reserved.id, gone.id, late.id, half.id], names)
        self._plant(broken)
        return broken

    def _plant(self, broken: Broken) -> None:
        """Find the rows that must go: those without a counterpart in the other database."""
        now = rows.snapshot(self.cloud.home)
        for server in broken.names:
            attachments = {str(row["id"]) for row in now.attachments_of(server)}
            named = {str(row["attachment_id"]) for row in now.mappings_of(server)}
            broken.mappings |= {
                f"{row['cell']}/{row['id']}"
                for row in now.mappings_of(server)
                if row["attachment_id"] not in attachments
            }
            broken.attachments |= attachments - named

    def reboot(self, server: Server) -> None:
        mark = time.time()
        action = Builder(self.cloud, "p1").reboot(server.id, "HARD")
        for event in reversed(action["events"]):
            self.progress(f"event {event['event']}: {event['result']}")
        deletes = [each for each in self.cloud.access("cinder", mark) if each.method == "DELETE"]
        self.progress(f"the guest is up again; nova-compute sent Cinder {len(deletes)} DELETE requests")
        log = (self.cloud.logs / "nova.log").read_text(errors="replace").splitlines()
        for line in log:
            if "Removing stale volume attachment" in line and server.id in line:
                self.progress("nova.log: " + line[line.index("Removing stale") :])

    def dedangle(self, *arguments: str) -> str:
        """Run the command as an operator does, and show its output."""
        command = [str(Path(sys.executable).with_name("dedangle")), *arguments]
        print(f"$ dedangle --config-file {self.cloud.nova_conf} {' '.join(arguments)}", flush=True)
        done = subprocess.run(
            [*command, "--config-file", str(self.cloud.nova_conf)], stdout=subprocess.PIPE, text=True, check=False
        )
        print(done.stdout, end="", flush=True)
        if done.returncode != 0:
            raise LabError(f"dedangle {' '.join(arguments)} ended with {done.returncode}")
        return done.stdout

    def show(self, now: rows.Snapshot, broken: Broken) -> None:
        for server, name in broken.names.items():
            print(f"  {name:9} Nova:   {_line(now.mappings_of(server), 'attachment_id')}")
            print(f"  {'':9} Cinder: {_line(now.attachments_of(server), 'id')}")
        print("  (volume -> attachment, first eight characters of each; live rows only)", flush=True)

    def judge(self, before: rows.Snapshot, after: rows.Snapshot, broken: Broken, left: Sequence[object]) -> bool:
        """Compare all rows of both databases, before and after."""
        self.step("The account")
        changes = rows.diff(before, after)
        gone = {
            table: {
                change.key for change in changes if change.table == table and change.after and change.after["deleted"]
            }
            for table in ("mappings", "attachments")
        }
        # A removed attachment frees its volume, and a hard reboot switches the guest on: those rows follow.
        freed = {str(before.attachments[key]["volume_id"]) for key in gone["attachments"]}
        other = [
            change
            for change in changes
            if change.key not in gone.get(change.table, ()) and not (change.table == "volumes" and change.key in freed)
        ]
        checks = {
            f"{len(broken.mappings)} dangling mappings are gone": gone["mappings"] == broken.mappings,
            f"{len(broken.attachments)} dangling attachments are gone": gone["attachments"] == broken.attachments,
            f"{len(freed)} volumes are available again": all(
                after.volumes[volume]["status"] == "available" for volume in freed
            ),
            f"no other row of {len(before.mappings)} mappings, {len(before.attachments)} attachments, "
            f"{len(before.volumes)} volumes and {len(before.servers)} servers has changed": not other,
            "the last audit found nothing": not left,
        }
        for what, held in checks.items():
            self.progress(f"{'yes' if held else 'NO '}  {what}")
        for each in other:
            self.progress(f"     {each.table} {each.key}: {each.columns}")
        return all(checks.values())


def _line(found: Sequence[rows.Row], attachment: str) -> str:
    pairs = sorted(f"{str(row['volume_id'])[:8]} -> {str(row[attachment] or 'none')[:8]}" for row in found)
    return ", ".join(pairs) or "nothing"


def main() -> int:
    """Run the demo in a cloud of its own; return 0 only if every step had the expected result."""
    began = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    try:
        print("Bringing up Keystone, Placement, Nova and Cinder on 127.0.0.1", flush=True)
        with Cloud(HOME, progress=lambda line: print(f"  {line}", flush=True)) as cloud:
            shown = Demo(cloud).run()
    except LabError as error:
        print(f"The demo stopped: {error}. The logs are in {HOME}/log.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Nothing of the lab is left running.", file=sys.stderr)
        return 130
    print(f"\n{'Done' if shown else 'FAILED'} in {time.monotonic() - began:.0f} s. The lab is down again.", flush=True)
    return 0 if shown else 1


if __name__ == "__main__":
    sys.exit(main())
