# SPDX-License-Identifier: Apache-2.0
"""A REST client of the lab's APIs, logged in as one user."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, TypeVar

from keystoneauth1 import identity, service_token, session

from dedangle.lab.config import SERVICE_PASSWORD
from dedangle.lab.errors import DeadlineError, UnexpectedAnswerError
from dedangle.lab.home import Home

T = TypeVar("T")

NOVA_MICROVERSION = "2.90"
CINDER_MICROVERSION = "3.70"


@dataclass(frozen=True)
class Answer:
    """The answer of a service: `body` is the decoded JSON, or the text if it is not JSON."""

    status: int
    body: Any
    request_id: str


class Client:
    """One user in one project; `service_token` adds Nova's service token to every request."""

    def __init__(self, home: Home, user: str, password: str, project: str, *, service_token: bool = False) -> None:
        self._home = home
        self._session = session.Session(auth=_login(home, user, password, project, service_token))

    def nova(self, method: str, path: str, body: object = None, *, expect: int | None = None) -> Answer:
        return self._ask("nova", method, path, body, expect, f"compute {NOVA_MICROVERSION}")

    def cinder(self, method: str, path: str, body: object = None, *, expect: int | None = None) -> Answer:
        return self._ask("cinder", method, path, body, expect, f"volume {CINDER_MICROVERSION}")

    @property
    def project_id(self) -> str:
        return str(self._session.get_project_id())

    def _ask(self, api: str, method: str, path: str, body: object, expect: int | None, microversion: str) -> Answer:
        """Send a request; raise UnexpectedAnswerError if the status is not `expect` (None allows any)."""
        response = self._session.request(
            self._home.url(api) + path,
            method,
            json=body,
            headers={"OpenStack-API-Version": microversion, "Accept": "application/json"},
            raise_exc=False,
            # A server may close an idle connection just when it is used again; what only reads is asked once more.
            connect_retries=3 if method == "GET" else 0,
        )
        try:
            decoded = response.json()
        except ValueError:
            decoded = response.text
        answer = Answer(response.status_code, decoded, response.headers.get("X-Openstack-Request-Id", ""))
        if expect is not None and answer.status != expect:
            raise UnexpectedAnswerError(f"{method} {path} of {api} answered {answer.status}, not {expect}: {decoded}")
        return answer


def wait_for(what: str, question: Callable[[], T | None], seconds: float = 60) -> T:
    """Call the function until its result is true, and return it; DeadlineError names `what` did not happen."""
    deadline = time.monotonic() + seconds
    pauses = chain((0.05, 0.1, 0.15), repeat(0.25))
    while True:
        asked = time.monotonic()
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise DeadlineError(f"{what}: not in {seconds:.0f} s")
        # A service that answers questions all the time is slower at what they wait for.
        time.sleep(max(next(pauses), min(3 * (time.monotonic() - asked), 1)))


def _login(home: Home, user: str, password: str, project: str, with_service_token: bool) -> Any:
    own = _password(home, user, password, project)
    if not with_service_token:
        return own
    return service_token.ServiceTokenAuthWrapper(own, _password(home, "nova", SERVICE_PASSWORD, "service"))


def _password(home: Home, user: str, password: str, project: str) -> Any:
    return identity.V3Password(
        auth_url=home.url("keystone"),
        username=user,
        password=password,
        project_name=project,
        user_domain_name="Default",
        project_domain_name="Default",
    )
