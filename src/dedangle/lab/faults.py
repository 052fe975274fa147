# SPDX-License-Identifier: Apache-2.0
"""Faults injected in front of an API while it runs: errors, delays, lost connections."""

import errno
import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from dedangle import files

_ERROR_NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    409: "conflictingRequest",
    413: "overLimit",
    500: "computeFault",
    503: "serviceUnavailable",
}
_PROXY_PAGE = b"<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1><hr>nginx</body></html>\n"


@dataclass(frozen=True)
class Fault:
    """The requests that it applies to, and what happens to them.

    The pattern of the path must match all of it. The other patterns may match any part.

    `drop='request'` closes the connection before the service sees the request, `drop='answer'` after it did its work.
    The first `skip` requests that it would hit pass, and after `times` more it hits none.
    """

    method: str = ".*"
    path: str = ".*"
    query: str = ""
    user_agent: str = ""
    service_token: bool | None = None
    status: int | None = None
    proxy_404: bool = False
    drop: Literal["request", "answer"] | None = None
    delay: float = 0
    after: float = 0
    skip: int = 0
    times: int | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def matches(self, environ: dict[str, Any]) -> bool:
        return (
            re.fullmatch(self.method, environ["REQUEST_METHOD"]) is not None
            and re.fullmatch(self.path, environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")) is not None
            and re.search(self.query, environ.get("QUERY_STRING", "")) is not None
            and re.search(self.user_agent, environ.get("HTTP_USER_AGENT", "")) is not None
            and self.service_token in (None, "HTTP_X_SERVICE_TOKEN" in environ)
        )


class FaultInjector:
    """WSGI middleware that reads its faults again at every request."""

    def __init__(self, application: Any, rules: Path) -> None:
        self._application = application
        self._rules = rules
        self._lock = threading.Lock()
        self._met: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        fault = self._take(environ)
        if fault is None:
            served: Iterable[bytes] = self._application(environ, start_response)
            return served
        time.sleep(fault.delay)
        if fault.drop == "request":
            raise _lost_connection()
        if fault.proxy_404:
            return answer(start_response, "404 Not Found", "text/html", _PROXY_PAGE)
        if fault.status is not None:
            name = _ERROR_NAMES.get(fault.status, "computeFault")
            body = {name: {"code": fault.status, "message": "Injected by the lab."}}
            return answer(start_response, f"{fault.status} Injected", "application/json", json.dumps(body).encode())
        # All of the work is done before the delay: a WSGI application may do some of it while it is iterated.
        done = list(self._application(environ, start_response))
        time.sleep(fault.after)
        if fault.drop == "answer":
            raise _lost_connection()
        return done

    def _take(self, environ: dict[str, Any]) -> Fault | None:
        for fault in _read(self._rules):
            if fault.matches(environ):
                with self._lock:
                    met = self._met[fault.id]
                    if fault.times is not None and met >= fault.skip + fault.times:
                        continue
                    self._met[fault.id] += 1
                if met >= fault.skip:
                    return fault
        return None


class Faults:
    """The faults of one lab."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def inject(self, api: str, **fault: Any) -> "Injected":
        """Inject a `Fault` into 'cinder', 'nova' or 'keystone' until cleared; usable as a context manager."""
        injected = Fault(**fault)
        path = rules_path(self._directory, api)
        # Several threads of a test inject at the same time.
        with files.locked(path):
            _write(path, [*_read(path), injected])
        return Injected(path, injected)

    def clear(self) -> None:
        for path in self._directory.glob("*.faults.json"):
            path.unlink(missing_ok=True)


class Injected:
    """One injected fault."""

    def __init__(self, path: Path, fault: Fault) -> None:
        self._path = path
        self._fault = fault

    def clear(self) -> None:
        with files.locked(self._path):
            _write(self._path, [fault for fault in _read(self._path) if fault.id != self._fault.id])

    def __enter__(self) -> "Injected":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.clear()


def rules_path(directory: Path, api: str) -> Path:
    return directory / f"{api}.faults.json"


def _lost_connection() -> OSError:
    # cheroot closes the connection without a word when the application seems to have met a peer that is gone.
    return ConnectionResetError(errno.ECONNRESET, "dropped by the lab")


def answer(start_response: Any, status: str, kind: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def _read(path: Path) -> list[Fault]:
    try:
        return [Fault(**fault) for fault in json.loads(path.read_text())]
    except FileNotFoundError:
        return []


def _write(path: Path, faults: list[Fault]) -> None:
    # The services read at any moment: they must never see half a file.
    files.replace(path, [json.dumps([asdict(fault) for fault in faults]).encode()], mode=0o644)
