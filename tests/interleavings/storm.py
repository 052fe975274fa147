# SPDX-License-Identifier: Apache-2.0
"""A storm: users who work, slow APIs, and a sweep that never stops, with a model of what must be left of it all."""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.client import wait_for
from dedangle.lab.cloud import Cloud
from dedangle.lab.faults import Injected
from shell import Dedangle

ATTACHMENTS, ATTACHMENT = r"/v3/.*attachments", r"/v3/.*attachments/[^/]+"
DISKS = r"/v2.1/servers/[^/]+/os-volume_attachments"

# Between these two of Nova's requests, in a resize and in shelving, a reserved attachment exists that no mapping names
# yet: what a sweep must tell from one that was never used. Nova is kept there for longer than a sweep takes from its
# first read to its last write.
NOVAS_NEW, NOVAS_OLD = ("POST", ATTACHMENTS), ("DELETE", ATTACHMENT)
NOVA = "python-cinderclient"
# (api, method, path) of each request that may be late besides, the services' own and dedangle's alike.
LATE = (
    ("cinder", "PUT", ATTACHMENT),
    ("cinder", "POST", rf"{ATTACHMENT}/action"),
    ("cinder", "DELETE", ATTACHMENT),
    ("cinder", "GET", ATTACHMENTS),
    ("cinder", "GET", ATTACHMENT),
    ("nova", "POST", DISKS),
    ("nova", "DELETE", rf"{DISKS}/[^/]+"),
    ("nova", "GET", rf"{DISKS}.*"),
    ("nova", "POST", r"/v2.1/servers/[^/]+/action"),
)
# All that waits for a server or a volume polls these; late answers keep the polling from eating the processors.
POLLED = (("nova", r"/v2.1/servers/[0-9a-f-]{36}"), ("cinder", r"/v3/.*volumes/[0-9a-f-]{36}"))
PATIENCE = 120


class Weather(threading.Thread):
    """Delays in front of both APIs, drawn again all the time until `clear`."""

    def __init__(self, cloud: Cloud, seed: str) -> None:
        super().__init__(name="weather", daemon=True)
        self._faults = cloud.faults
        self._random = random.Random(seed)
        self._held: list[Injected] = []
        # The file of the faults is read, changed and written as a whole.
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.delays = 0

    def run(self) -> None:
        with self._lock:
            for api, path in POLLED:
                self._faults.inject(api, method="GET", path=path, after=0.3)
        while not self._over.wait(self._random.uniform(0.5, 2)):
            with self._lock:
                self._change()

    def clear(self) -> None:
        self._over.set()
        self.join()
        self._faults.clear()

    @contextmanager
    def calm(self) -> Iterator[None]:
        """No delay is drawn meanwhile, so that no delay replaces a fault that a test injects."""
        with self._lock:
            self._drop()
            yield

    def _change(self) -> None:
        self._drop()
        if self._random.random() < 0.3:
            self._add("cinder", *NOVAS_NEW, "after", self._random.uniform(4, 7), times=1, user_agent=NOVA)
        self._add("cinder", *NOVAS_NEW, "after", self._random.uniform(0.1, 2), user_agent=NOVA)
        self._add("cinder", *NOVAS_OLD, "delay", self._random.uniform(0.1, 2), user_agent=NOVA)
        for api, method, path in self._random.sample(LATE, 3):
            # Most are short; the long ones hit one request, so that no operation comes near a timeout.
            seconds = self._random.choice((0.1, 0.2, 0.4, self._random.uniform(0.8, 2)))
            times = 1 if seconds > 0.5 else self._random.randint(1, 3)
            self._add(api, method, path, self._random.choice(("delay", "after")), seconds, times=times)

    def _add(self, api: str, method: str, path: str, when: str, seconds: float, **more: Any) -> None:
        self._held.append(self._faults.inject(api, method=method, path=path, **{when: round(seconds, 2)}, **more))
        self.delays += 1

    def _drop(self) -> None:
        for each in self._held:
            each.clear()
        self._held.clear()


@dataclass(frozen=True)
class Run:
    """One run of the sweep."""

    began: float
    ended: float
    code: int
    out: str
    err: str

    @property
    def suspects(self) -> int:
        """How many servers it did not take for healthy at first sight, and so judged."""
        told = re.search(r"Judging servers \d+/(\d+)", self.err)
        return int(told[1]) if told else 0

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """The findings of which removal was tried."""
        return [each for each in json.loads(self.out or "[]") if each.get("outcome")]


class Sweeper(threading.Thread):
    """One sweep after the other, as fast as they go, until `stop`."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._dedangle = Dedangle(cloud)
        self._over = threading.Event()
        self.runs: list[Run] = []

    def run(self) -> None:
        while not self._over.is_set():
            began = time.time()
            done = self._dedangle("sweep", "--execute", "--yes", "--max-removals", "1000", "-f", "json")
            self.runs.append(Run(began, time.time(), done.code, done.out, done.err))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def wait_for_a_whole_one(self) -> None:
        """Wait until a sweep that begins after now has ended."""
        now = time.time()

        def swept() -> bool:
            return not self.is_alive() or any(each.began > now for each in self.runs)

        wait_for("a whole sweep", swept, PATIENCE)


@dataclass
class Planted:
    """What must be gone in the end, and nothing else may be: attachments by id, with their volumes."""

    attachments: dict[str, str] = field(default_factory=dict)
    servers: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, attachments: dict[str, str]) -> None:
        self.attachments.update(attachments)
        self.kinds[kind] += 1


@dataclass
class Machine:
    """A server as its user knows it: its volumes by the model, not by any database."""

    id: str
    volumes: set[str]
    root: str


class User:
    """One user's servers and volumes, worked on one operation at a time; each begins and ends with a running server."""

    def __init__(self, number: int, cloud: Cloud, seed: str, planted: Planted, weather: Weather) -> None:
        # A Cloud of its own is a set of logins of its own.
        self._builder = Builder(Cloud(cloud.home.path, database=cloud.home.database), f"p{number % 2 + 1}")
        self._breaker = Breaker(self._builder)
        self._home = cloud.home
        self._random = random.Random(seed)
        self._weather = weather
        self._planted = planted
        self._names = (f"user-{number}-{each}" for each in itertools.count())
        self._quiet = ""
        self.machines: list[Machine] = []
        self.free: list[str] = []
        self.deleted: set[str] = set()
        self.doing = ""

    def settle(self, machines: int = 1, spare: int = 3) -> None:
        self._quiet = self._new(1).id
        self.machines = [self._new(1) for _ in range(machines)]
        self.free = [self._builder.volume() for _ in range(spare)]

    def operate(self) -> str:
        """Carry one operation out, see that the model holds, and return what it was."""
        number = self._random.randrange(len(self.machines))
        machine = self.machines[number]
        kind = self._draw(machine)
        self.doing = f"{kind} of server {machine.id}"
        OPERATIONS[kind][1](self, machine)
        self.check(self.machines[number])
        return kind

    def plant(self, number: int) -> None:
        """Break something, in turn one of the ways."""
        self.doing = f"planting number {number}"
        (self.plant_quiet, self.plant_beside, self.plant_deleted)[number % 3]()

    def plant_quiet(self) -> None:
        """A reserved attachment of a server that nobody works on."""
        volume = self._builder.volume()
        self._planted.add("reserved", {self._breaker.reserve_attachment(self._quiet, volume): volume})

    def plant_beside(self) -> None:
        """A reserved attachment of a server that goes on being worked on."""
        volume, machine = self._builder.volume(), self._random.choice(self.machines)
        self._planted.add("reserved, busy server", {self._breaker.reserve_attachment(machine.id, volume): volume})

    def plant_deleted(self) -> None:
        """A server that was deleted while Cinder failed."""
        machine = self._new(1)
        self.check(machine)
        found = rows.snapshot(self._home).attachments_of(machine.id)
        self._planted.servers.add(machine.id)
        with self._weather.calm():
            self._breaker.delete_server_while_cinder_fails(machine.id)
        self._planted.add("deleted server", {str(each["id"]): str(each["volume_id"]) for each in found})

    def check(self, machine: Machine) -> None:
        """Wait until both sides hold what the model says; a detach drops its mapping after all that a user sees."""
        wait_for(
            f"server {machine.id} has {sorted(machine.volumes)} on both sides after {self.doing}",
            lambda: not wrong(rows.snapshot(self._home), machine),
        )

    # The operations.

    def attach(self, machine: Machine) -> None:
        volume = self.free.pop(0)
        self._builder.attach(machine.id, volume)
        machine.volumes.add(volume)

    def attach_two(self, machine: Machine) -> None:
        """Two at once: neither knows of the other, and one may be judged while the other is on its way."""
        volumes = [self.free.pop(0), self.free.pop(0)]
        with ThreadPoolExecutor() as both:
            list(both.map(lambda volume: self._builder.attach(machine.id, volume), volumes))
        machine.volumes.update(volumes)

    def detach(self, machine: Machine) -> None:
        volume = self._random.choice(sorted(machine.volumes - {machine.root}))
        self._builder.detach(machine.id, volume)
        machine.volumes.discard(volume)
        self.free.append(volume)

    def reboot_hard(self, machine: Machine) -> None:
        self._reboot(machine, "HARD")

    def reboot_soft(self, machine: Machine) -> None:
        self._reboot(machine, "SOFT")

    def stop_start(self, machine: Machine) -> None:
        self._while_stopped(machine, lambda _: None)

    def attach_stopped(self, machine: Machine) -> None:
        self._while_stopped(machine, self.attach)

    def detach_stopped(self, machine: Machine) -> None:
        self._while_stopped(machine, self.detach)

    def resize_confirm(self, machine: Machine) -> None:
        self._resize(machine)
        self._builder.confirm(machine.id)

    def resize_revert(self, machine: Machine) -> None:
        self._resize(machine)
        self._builder.revert(machine.id)

    def shelve(self, machine: Machine) -> None:
        self._while_shelved(machine, lambda _: None)

    def attach_shelved(self, machine: Machine) -> None:
        self._while_shelved(machine, self.attach)

    def detach_shelved(self, machine: Machine) -> None:
        self._while_shelved(machine, self.detach)

    def rescue(self, machine: Machine) -> None:
        self._builder.rescue(machine.id)
        self.check(machine)
        self._builder.unrescue(machine.id)

    def rebuild(self, machine: Machine) -> None:
        self._builder.rebuild(machine.id)

    def live_migrate(self, machine: Machine) -> None:
        self._builder.live_migrate(machine.id)

    def replace(self, machine: Machine) -> None:
        """Delete the server and make another."""
        self._builder.delete(machine.id)
        self._released(machine)
        self._renew(machine)

    def replace_shelved(self, machine: Machine) -> None:
        """Delete the server while it is on no host, which nova-api does alone, and make another."""
        self._builder.shelve_offload(machine.id)
        self.replace(machine)

    def _reboot(self, machine: Machine, kind: Any) -> None:
        action = self._builder.reboot(machine.id, kind)
        results = {each["event"]: each["result"] for each in action["events"]}
        assert set(results.values()) == {"Success"}, results

    def _while_stopped(self, machine: Machine, work: Callable[[Machine], None]) -> None:
        self._builder.stop(machine.id)
        work(machine)
        self.check(machine)
        self._builder.start(machine.id)

    def _while_shelved(self, machine: Machine, work: Callable[[Machine], None]) -> None:
        self._builder.shelve_offload(machine.id)
        work(machine)
        self._builder.unshelve(machine.id)

    def _resize(self, machine: Machine) -> None:
        flavor = self._builder.user.nova("GET", f"/servers/{machine.id}", expect=200).body["server"]["flavor"]
        self._builder.resize(machine.id, "1" if flavor["original_name"] == "large" else "2")

    def _renew(self, machine: Machine) -> None:
        self.deleted.add(machine.id)
        self._builder.delete_volume(machine.root)
        self.free += sorted(machine.volumes - {machine.root})
        fresh = self._new(0)
        machine.id, machine.root, machine.volumes = fresh.id, fresh.root, fresh.volumes

    def _released(self, machine: Machine) -> None:
        """Wait until the volumes of a deleted server can be had again."""

        def statuses() -> set[str]:
            user = self._builder.user
            return {
                user.cinder("GET", f"/volumes/{each}", expect=200).body["volume"]["status"] for each in machine.volumes
            }

        wait_for(f"the volumes of deleted server {machine.id}", lambda: statuses() == {"available"})

    def _new(self, volumes: int) -> Machine:
        made = self._builder.server(next(self._names), volumes)
        return Machine(made.id, set(made.volumes), made.volumes[0])

    def _draw(self, machine: Machine) -> str:
        data = len(machine.volumes) - 1
        possible = {
            kind: weight
            for kind, (weight, _, needs_free, needs_data) in OPERATIONS.items()
            # As many volumes as a server gets, as many calls a resize makes.
            if (not needs_free or (needs_free <= len(self.free) and data < 3)) and needs_data <= data
        }
        return self._random.choices(list(possible), weights=list(possible.values()))[0]


# Weight, what is done, how many free volumes and how many attached ones it needs.
OPERATIONS: dict[str, tuple[int, Callable[[User, Machine], None], int, int]] = {
    "attach": (24, User.attach, 1, 0),
    "attach two at once": (10, User.attach_two, 2, 0),
    "detach": (24, User.detach, 0, 1),
    "attach while stopped": (3, User.attach_stopped, 1, 0),
    "detach while stopped": (3, User.detach_stopped, 0, 1),
    "attach while shelved": (3, User.attach_shelved, 1, 0),
    "detach while shelved": (2, User.detach_shelved, 0, 1),
    "shelve, unshelve": (4, User.shelve, 0, 0),
    "resize, confirm": (5, User.resize_confirm, 0, 0),
    "resize, revert": (4, User.resize_revert, 0, 0),
    "hard reboot": (7, User.reboot_hard, 0, 0),
    "soft reboot": (7, User.reboot_soft, 0, 0),
    "stop, start": (4, User.stop_start, 0, 0),
    "rescue, unrescue": (4, User.rescue, 0, 0),
    "rebuild": (5, User.rebuild, 0, 0),
    "live migration": (7, User.live_migrate, 0, 0),
    "delete, create": (3, User.replace, 0, 0),
    "delete shelved, create": (2, User.replace_shelved, 0, 0),
}


def wrong(now: rows.Snapshot, machine: Machine) -> str:
    """What is not as the model says, empty where all is."""
    mappings = [each for each in now.mappings_of(machine.id) if each["destination_type"] == "volume"]
    # What was planted beside a server is nobody's, and it is reserved, while all of a running server's is attached.
    attachments = [each for each in now.attachments_of(machine.id) if each["attach_status"] != "reserved"]
    linked = sorted((str(each["volume_id"]), str(each["attachment_id"])) for each in mappings)
    held = sorted((str(each["volume_id"]), str(each["id"])) for each in attachments)
    if linked != held:
        return f"server {machine.id}: Nova maps {linked}, Cinder holds {held}"
    if sorted(machine.volumes) != [volume for volume, _ in linked]:
        return f"server {machine.id}: {linked} is there, {sorted(machine.volumes)} should be"
    return ""


class Storm:
    """Users who work at the same time, until so many operations are done or one has failed."""

    def __init__(self, cloud: Cloud, seed: int, users: int) -> None:
        self._cloud = cloud
        self.planted = Planted()
        self.weather = Weather(cloud, f"{seed}/weather")
        self.sweeper = Sweeper(cloud)
        self.users = [User(each, cloud, f"{seed}/user {each}", self.planted, self.weather) for each in range(users)]
        self.done: Counter[str] = Counter()
        self.spent: Counter[str] = Counter()
        self.seconds = 0.0
        self.ended = 0.0
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._go_on = threading.Event()
        self._go_on.set()
        self._busy = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No operation is begun meanwhile, and those that were begun have ended; the sweep goes on."""
        self._go_on.clear()
        try:
            wait_for("the operations in progress", lambda: not self._busy, 2 * PATIENCE)
            yield
        finally:
            self._go_on.set()

    def settle(self) -> None:
        """Make the users' first servers and volumes."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(User.settle, self.users))

    def rage(self, operations: int, plant_every: int, abate: Callable[[], None] = lambda: None) -> None:
        """Work; `abate` is called when nobody works any more, before the sweep that must remove all that is left."""
        with ThreadPoolExecutor() as pool:
            tickets = iter(range(1, operations + 1))
            began = time.time()
            self.weather.start()
            self.sweeper.start()
            try:
                list(pool.map(lambda user: self._work(user, tickets, plant_every), self.users))
            finally:
                self.ended = time.time()
                self.seconds = self.ended - began
                self.weather.clear()
                abate()
                if not self._failed.is_set():
                    self.sweeper.wait_for_a_whole_one()
                    # The last ones were seen a moment ago, and their grace period runs.
                    wait_for("what was planted is gone", self._is_swept, PATIENCE)
                self.sweeper.stop()

    def _is_swept(self) -> bool:
        now = rows.snapshot(self._cloud.home)
        return all(now.attachments[each]["deleted"] for each in self.planted.attachments)

    def _work(self, user: User, tickets: Iterator[int], plant_every: int) -> None:
        try:
            while not self._failed.is_set():
                self._go_on.wait()
                with self._lock:
                    ticket = next(tickets, None)
                    self._busy += ticket is not None
                if ticket is None:
                    return
                try:
                    if ticket % plant_every == 0:
                        user.plant(ticket // plant_every)
                    began = time.time()
                    kind = user.operate()
                finally:
                    with self._lock:
                        self._busy -= 1
                with self._lock:
                    self.done[kind] += 1
                    self.spent[kind] += time.time() - began
        except BaseException as error:
            self._failed.set()
            raise AssertionError(f"{user.doing} failed at {time.strftime('%H:%M:%S')}: {error}") from error
