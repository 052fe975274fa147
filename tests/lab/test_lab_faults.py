# SPDX-License-Identifier: Apache-2.0
"""Every effect and every condition of an injected fault, seen by a plain HTTP client."""

import contextlib
import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dedangle.lab.cloud import Cloud
from dedangle.lab.faults import Faults


@dataclass(frozen=True)
class Seen:
    status: int
    kind: str
    body: bytes
    seconds: float


def ask(cloud: Cloud, api: str, path: str, method: str = "GET", **headers: str) -> Seen:
    began = time.monotonic()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", cloud.ports[api], timeout=30)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return Seen(
            answer.status, answer.getheader("Content-Type", ""), answer.read(), seconds=time.monotonic() - began
        )


@pytest.mark.parametrize(("api", "path"), [("cinder", "/v3/x"), ("nova", "/v2.1/x"), ("keystone", "/v3/x")])
def test_a_status_is_answered_as_openstack_does(cloud: Cloud, api: str, path: str) -> None:
    with cloud.faults.inject(api, path="/v.*/x", status=503):
        seen = ask(cloud, api, path)

    assert (seen.status, seen.kind) == (503, "application/json")
    assert json.loads(seen.body) == {"serviceUnavailable": {"code": 503, "message": "Injected by the lab."}}
    assert ask(cloud, api, path).status in (401, 404)


def test_a_proxy_answers_404_in_html(cloud: Cloud) -> None:
    with cloud.faults.inject("cinder", proxy_404=True):
        seen = ask(cloud, "cinder", "/v3/attachments")

    assert (seen.status, seen.kind) == (404, "text/html")
    assert b"nginx" in seen.body


@pytest.mark.parametrize(("when", "status"), [("request", None), ("answer", 200)])
def test_a_dropped_connection_gives_no_answer(cloud: Cloud, when: str, status: int | None) -> None:
    mark = time.time()
    with cloud.faults.inject("cinder", path="/", drop=when), pytest.raises(http.client.RemoteDisconnected):
        ask(cloud, "cinder", "/")

    assert [request.status for request in cloud.access("cinder", mark)] == [None]


@pytest.mark.parametrize("when", ["delay", "after"])
def test_an_answer_can_be_late(cloud: Cloud, when: str) -> None:
    with cloud.faults.inject("cinder", **{when: 0.5}):
        late = ask(cloud, "cinder", "/")

    assert late.seconds >= 0.5
    assert late.status == 300
    assert ask(cloud, "cinder", "/").seconds < 0.5


def test_a_fault_strikes_so_many_times(cloud: Cloud) -> None:
    cloud.faults.inject("cinder", path="/", status=500, times=2)

    assert [ask(cloud, "cinder", "/").status for _ in range(3)] == [500, 500, 300]


@pytest.mark.parametrize(
    ("condition", "hit", "miss"),
    [
        ({"method": "PUT|POST"}, {"method": "POST"}, {"method": "GET"}),
        ({"path": "/v3/a"}, {"path": "/v3/a"}, {"path": "/v3/ab"}),
        ({"query": "instance_id="}, {"path": "/?instance_id=1"}, {"path": "/?name=1"}),
        ({"user_agent": "cinderclient"}, {"User-Agent": "python-cinderclient"}, {"User-Agent": "curl"}),
        ({"service_token": True}, {"X-Service-Token": "t"}, {}),
        ({"service_token": False}, {}, {"X-Service-Token": "t"}),
    ],
)
def test_a_fault_hits_only_what_it_names(
    cloud: Cloud, condition: dict[str, Any], hit: dict[str, str], miss: dict[str, str]
) -> None:
    cloud.faults.inject("cinder", status=413, **condition)

    assert ask(cloud, "cinder", **{"path": "/", **hit}).status == 413
    assert ask(cloud, "cinder", **{"path": "/", **miss}).status != 413


def test_clearing_one_fault_leaves_the_other(cloud: Cloud) -> None:
    one = cloud.faults.inject("cinder", path="/one", status=500)
    cloud.faults.inject("cinder", path="/two", status=500)

    one.clear()

    assert ask(cloud, "cinder", "/one").status != 500
    assert ask(cloud, "cinder", "/two").status == 500


def test_threads_inject_at_the_same_time(tmp_path: Path) -> None:
    faults = Faults(tmp_path)

    def inject_and_clear(number: int) -> None:
        for _ in range(20):
            with faults.inject("cinder", path=str(number)):
                kept = json.loads((tmp_path / "cinder.faults.json").read_text())
                assert str(number) in [each["path"] for each in kept]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(inject_and_clear, range(4))) == [None] * 4
    assert json.loads((tmp_path / "cinder.faults.json").read_text()) == []
