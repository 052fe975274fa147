# SPDX-License-Identifier: Apache-2.0
"""The access log of every API in the lab: one JSON line per request, written before the answer leaves."""

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Access:
    """One request; `status` is None when the connection was dropped instead of answered."""

    time: float
    seconds: float
    method: str
    path: str
    query: str
    status: int | None
    user_agent: str
    service_token: bool
    microversion: str
    request_id: str


class AccessLog:
    """WSGI middleware that writes the log."""

    def __init__(self, application: Any, path: Path) -> None:
        self._application = application
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        began = time.time()
        answered: list[int] = []

        def remember(status: str, headers: Any, exc_info: Any = None) -> Any:
            answered.append(int(status.split()[0]))
            return start_response(status, headers, exc_info)

        try:
            answer: Iterable[bytes] = self._application(environ, remember)
        except BaseException:
            answered.clear()
            raise
        finally:
            access = Access(
                time=began,
                seconds=round(time.time() - began, 4),
                method=environ["REQUEST_METHOD"],
                path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
                query=environ.get("QUERY_STRING", ""),
                status=answered[-1] if answered else None,
                user_agent=environ.get("HTTP_USER_AGENT", ""),
                service_token="HTTP_X_SERVICE_TOKEN" in environ,
                microversion=environ.get("HTTP_OPENSTACK_API_VERSION", ""),
                request_id=environ.get("HTTP_X_OPENSTACK_REQUEST_ID", ""),
            )
            with self._lock:
                self._file.write(json.dumps(asdict(access)) + "\n")
        return answer


def read(path: Path, since: float) -> list[Access]:
    """Return the requests that began at `since` (seconds of time.time()) or later."""
    if not path.exists():
        return []
    requests = (Access(**json.loads(line)) for line in path.read_text().splitlines())
    return [request for request in requests if request.time >= since]
