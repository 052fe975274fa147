# SPDX-License-Identifier: Apache-2.0
"""Cinder's REST API over the state of Nova's CinderFixture, and the Keystone before it: as much as dedangle asks."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import requests_mock
from keystoneauth1 import fixture as keystone_fixture

Answer = tuple[int, dict[str, Any]]

CINDER = "https://cinder.test/v3"
KEYSTONE = "https://keystone.test/v3"
PROJECT = "administrators"
CREDENTIALS = {
    "auth_type": "v3password",
    "auth_url": KEYSTONE,
    "username": "dedangle",
    "password": "secret",
    "user_domain_id": "default",
    "project_name": PROJECT,
    "project_domain_id": "default",
}
_SUMMARY = ("id", "volume_id", "instance", "status")


class CinderRest:
    """Answers as Cinder does to a project-scoped administrator whose project has no servers."""

    def __init__(self, attachments: dict[str, dict[str, Any]], project_of_volumes: str) -> None:
        self._attachments = attachments
        self._project_of_volumes = project_of_volumes
        self.calls: list[str] = []
        self.missing: set[str] = set()
        self.multiattach: set[str] = set()
        self.encryption: dict[str, dict[str, str]] = {}
        self.sees_all_projects = True
        self.page = 1000
        self.delay = 0.0
        self.faults: list[tuple[str, int | Exception]] = []
        """(pattern of a call, the status or exception that it ends in)."""
        self.down_from: int | None = None
        """From which call on there is no connection."""

    def sender(self, real: Callable[..., requests.Response]) -> Callable[..., requests.Response]:
        """Return what replaces requests.adapters.HTTPAdapter.send."""

        def send(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
            if request.url.startswith(CINDER):
                return self._cinder(request, kwargs["timeout"])
            if request.url.startswith(KEYSTONE):
                return _keystone(request)
            return real(adapter, request, *args, **kwargs)

        return send

    def _cinder(self, request: Any, timeout: float) -> requests.Response:
        url = urlsplit(request.url)
        query = dict(parse_qsl(url.query))
        path = url.path.removeprefix("/v3/")
        filters = "".join(f"?{name}={query[name]}" for name in ("instance_id", "volume_id") if name in query)
        call = f"{request.method} {path}{filters}"
        self.calls.append(call)
        assert request.headers["OpenStack-API-Version"] == "volume 3.44"
        assert "X-Service-Token" not in request.headers
        if self.delay:
            time.sleep(min(self.delay, timeout))
            if self.delay > timeout:
                raise requests.exceptions.ReadTimeout(request=request)
        if self.down_from is not None and len(self.calls) > self.down_from:
            raise requests.exceptions.ConnectionError(request=request)
        for pattern, answer in self.faults:
            if re.match(pattern, call):
                if isinstance(answer, Exception):
                    raise answer
                return _response(request, (answer, {"fault": {"code": answer, "message": "as it was told to"}}))
        return _response(request, self._answer(request.method, path.split("/"), query))

    def _answer(self, method: str, path: list[str], query: dict[str, str]) -> Answer:
        match method, *path:
            case "GET", "attachments":
                return self._list(query)
            case "GET", "attachments", ident:
                return self._attachment(ident)
            case "DELETE", "attachments", ident:
                return self._delete(ident)
            case "GET", "volumes", ident:
                return self._volume(ident)
            case "GET", "volumes", ident, "encryption":
                return 200, self.encryption.get(ident, {})
            case _:
                raise AssertionError(f"dedangle has no business with {method} {path}")

    def _rows(self) -> Iterator[dict[str, Any]]:
        for volume_id, attachments in self._attachments.items():
            for each in attachments.values():
                connected = each.get("connector") is not None
                yield {
                    "id": each["id"],
                    "volume_id": volume_id,
                    "instance": each["instance_uuid"],
                    "status": "attached" if connected else "reserved",
                    "attached_at": "2026-01-01T00:00:00.000000" if connected else "",
                    "connection_info": {"driver_volume_type": "fake"} if connected else {},
                    "host": each["connector"]["host"] if connected else None,
                }

    def _list(self, query: dict[str, str]) -> Answer:
        seen = query.get("all_tenants") == "1" and self.sees_all_projects
        rows = [each for each in self._rows() if seen]
        for name, column in (("instance_id", "instance"), ("volume_id", "volume_id")):
            rows = [each for each in rows if query.get(name) in (None, each[column])]
        if "marker" in query:
            ids = [each["id"] for each in rows]
            if query["marker"] not in ids:
                return _not_found("Volume attachment", query["marker"])
            rows = rows[ids.index(query["marker"]) + 1 :]
        page = rows[: min(self.page, int(query["limit"]))]
        return 200, {"attachments": [{key: each[key] for key in _SUMMARY} for each in page]}

    def _attachment(self, ident: str) -> Answer:
        for each in self._rows():
            if each["id"] == ident and self.sees_all_projects:
                return 200, {"attachment": {key: value for key, value in each.items() if key != "host"}}
        return _not_found("Volume attachment", ident)

    def _volume(self, ident: str) -> Answer:
        if ident in self.missing or not self.sees_all_projects:
            return _not_found("Volume", ident)
        rows = [each for each in self._rows() if each["volume_id"] == ident]
        attached = [each for each in rows if each["status"] == "attached"]
        volume = {
            "id": ident,
            "status": "in-use" if attached else "reserved" if rows else "available",
            "multiattach": ident in self.multiattach,
            "metadata": {},
            "os-vol-tenant-attr:tenant_id": self._project_of_volumes,
            "os-vol-mig-status-attr:migstat": None,
            "attachments": [{"attachment_id": each["id"], "host_name": each["host"]} for each in attached],
        }
        return 200, {"volume": volume}

    def _delete(self, ident: str) -> Answer:
        for attachments in self._attachments.values():
            if ident in attachments:
                del attachments[ident]
                return 200, {"attachments": []}
        return _not_found("Volume attachment", ident)


def _keystone(request: Any) -> requests.Response:
    token = keystone_fixture.V3Token(project_id=PROJECT, project_name=PROJECT)
    token.add_service("volumev3", "cinderv3").add_standard_endpoints(public=CINDER, region="RegionOne")
    return requests_mock.create_response(request, status_code=201, json=token, headers={"X-Subject-Token": "a-token"})


def _not_found(what: str, ident: str) -> Answer:
    return 404, {"itemNotFound": {"code": 404, "message": f"{what} {ident} could not be found."}}


def _response(request: Any, answer: Answer) -> requests.Response:
    status, body = answer
    return requests_mock.create_response(request, status_code=status, json=body)
