# SPDX-License-Identifier: Apache-2.0
"""Requests to Cinder's REST API, and the meaning of the answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exceptions

from dedangle.core.records import Attachment, Reading, Volume
from dedangle.systems import rest
from dedangle.systems.cinder import rows as cinder_rows

T = TypeVar("T")

# After so many reads in a row without an answer, Cinder hangs. One alone may be a slow list, or one cinder-api of many.
_MOST_TIMEOUTS = 2


class UnreadError(Exception):
    """Cinder gave no usable answer. The message says why."""


class BusyError(UnreadError):
    """Cinder or its proxy answered 429 or 503. `retry_after` is in seconds, 0 if the answer does not have it."""

    def __init__(self, why: str, retry_after: float) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class MarkerGoneError(Exception):
    """The last row of the previous page was deleted meanwhile."""


class CinderClient:
    """Requests through keystoneauth, which finds the endpoint, renews the token and retries reads, but never writes.

    `project_id` is the project of the credentials. `remaining` returns the seconds left for all further requests; with
    none left, no request is made. Without it, no request is made after two reads in a row timed out: each further one
    would wait as long.
    """

    def __init__(
        self, client: adapter.Adapter, project_id: str | None, remaining: Callable[[], float] | None = None
    ) -> None:
        self._client = client
        self.project_id = project_id
        self._remaining = remaining
        self._timeouts = 0
        self._silence = ""

    def attachment(self, attachment_id: str) -> Reading[Attachment]:
        return self._one("attachment", attachment_id, cinder_rows.attachment)

    def volume(self, volume_id: str) -> Reading[Volume]:
        return self._one("volume", volume_id, cinder_rows.volume)

    def _one(self, what: str, ident: str, make: Callable[[dict[str, Any]], Any]) -> Reading[Any]:
        return self._show(what, ident, f"/{what}s/{ident}", lambda body: make(body[what]))

    def _show(self, what: str, ident: str, path: str, make: Callable[[dict[str, Any]], T]) -> Reading[T]:
        try:
            answer = self._ask("GET", path)
        except UnreadError as error:
            return Reading.unread(str(error))
        if answer.status_code == 200:
            try:
                return Reading((make(rest.body(answer)),))
            except cinder_rows.HiddenError as hidden:
                return Reading.unread(str(hidden))
            except (KeyError, TypeError, AttributeError):
                return Reading.unread(f"the answer to a request for {what} {ident} is not from Cinder itself")
        if is_gone(answer, ident):
            return Reading()
        return Reading.unread(f"Cinder answered {answer.status_code} to {what} {ident}: {rest.message(answer)}")

    def _page(self, what: str, path: str, params: dict[str, str]) -> list[dict[str, Any]]:
        """Return one page of a list; raise UnreadError, or MarkerGoneError if Cinder does not have the marker."""
        answer = self._ask("GET", path, params=params)
        if answer.status_code == 404 and "marker" in params and params["marker"] in rest.message(answer):
            raise MarkerGoneError
        page = rest.body(answer).get(f"{what}s")
        if answer.status_code != 200 or not isinstance(page, list):
            why = f"Cinder answered {answer.status_code} to a list of {what}s: {rest.message(answer)}"
            if answer.status_code in (429, 503):
                raise BusyError(why, rest.retry_after(answer))
            raise UnreadError(why)
        return page

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        if self._remaining is not None:
            options["timeout"] = self._remaining()
            if options["timeout"] <= 0:
                raise UnreadError("the time budget for requests to Cinder is used up")
        if self._timeouts >= _MOST_TIMEOUTS:
            raise UnreadError(f"{self._silence}, and was not asked again")
        try:
            # Connectors and connection_info are secrets, so the requests are not in the debug log.
            answer = self._client.request(path, method, raise_exc=False, log=False, **options)
        except ks_exceptions.ClientException as error:
            why = rest.unanswered("Cinder", f"{method} {path}", self._client, error)
            # A write may wait for a slow backend, and a budget may leave a request too little time.
            if isinstance(error, ks_exceptions.ConnectTimeout) and method == "GET" and self._remaining is None:
                self._timeouts, self._silence = self._timeouts + 1, why
            raise UnreadError(why) from error
        self._timeouts = 0
        return answer


def is_gone(answer: Any, ident: str) -> bool:
    """Whether Cinder itself answers that it has no such row. A 404 of a proxy or a wrong endpoint proves nothing."""
    return answer.status_code == 404 and "itemNotFound" in rest.body(answer) and ident in rest.message(answer)
