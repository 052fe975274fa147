# SPDX-License-Identifier: Apache-2.0
"""Lists of Cinder's REST API, page by page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from dedangle.core import packing
from dedangle.core.records import Attachment, Reading
from dedangle.systems import ports
from dedangle.systems.cinder import cut
from dedangle.systems.cinder import rows as cinder_rows
from dedangle.systems.cinder.client import MarkerGoneError, UnreadError
from dedangle.systems.cinder.writes import CinderWrites

T = TypeVar("T")

PAGE = 1000
_RESTARTS = 3


class CinderLists(CinderWrites):
    """Lists of attachments and volumes of all projects."""

    _longest = 0
    """The number of rows of the longest page so far. Cinder's page limit (osapi_max_limit) is not lower."""

    def _list(self, what: str, path: str, filters: dict[str, str], make: Callable[[dict[str, Any]], T]) -> Reading[T]:
        """List the rows of all projects to the last page.

        Cinder gives lists of attachments no next link. Rows are sorted by age, so that new rows come last. If the
        marker was deleted meanwhile, Cinder answers 404, and the list is restarted.
        """
        rows: list[T] = []
        try:
            for page in self._tries(what, path, filters):
                rows = [] if page is None else [*rows, *map(make, page)]
        except UnreadError as error:
            return Reading.unread(str(error))
        return Reading(tuple(rows))

    def _begun(self, filters: dict[str, str], named: frozenset[str]) -> ports.Listing:
        """Read the first page of a list of attachments. If it has exactly the named ones, the list ends there."""
        params = _params(filters)
        try:
            page, is_last = self._next("attachment", "/attachments", params)
        except UnreadError as error:
            return ports.Listing(Reading.unread(str(error)), Reading)
        shown = [str(each["id"]) for each in page]
        is_last = is_last or set(shown) == named

        def rest() -> Reading[Attachment]:
            if is_last:
                return Reading()
            try:
                pages = self._pages("attachment", "/attachments", {**filters, "marker": shown[-1]})
                found = Reading(tuple(each for more in pages for each in more))
            except MarkerGoneError:
                found = self._list("attachment", "/attachments", filters, dict)
            except UnreadError as error:
                return Reading.unread(str(error))
            more = [each for each in found.rows if each["id"] not in shown]
            shown.extend(str(each["id"]) for each in more)
            return Reading(tuple(map(cinder_rows.attachment, more)), found.complete, found.why)

        return ports.Listing(Reading(tuple(map(cinder_rows.attachment, page))), rest)

    def _bulk(
        self,
        what: str,
        path: str,
        packed: Callable[[list[dict[str, Any]]], packing.Page],
        at: Sequence[str],
    ) -> Iterator[Reading[packing.Page]]:
        """Read the list in parts that are cut at the ids; in one part by age if Cinder does not sort it by id."""
        try:
            try:
                for page in self._cut(what, path, at):
                    if page:
                        yield Reading((packed(page),))
            except cut.UnsortedError:
                for again in self._tries(what, path, {}):
                    if again:
                        yield Reading((packed(again),))
        except UnreadError as error:
            yield Reading.unread(str(error))

    def _cut(self, what: str, path: str, at: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        def ask(marker: str | None) -> tuple[list[dict[str, Any]], bool]:
            after = {"marker": marker} if marker else {}
            return self._next(what, path, {"all_tenants": "1", "limit": str(PAGE), "sort": "id:asc", **after})

        try:
            yield from cut.together([cut.part(ask, at, number) for number in range(len(at) + 1)])
        except cut.ChangingError as error:
            raise UnreadError(f"Cinder's list of {what}s changed faster than it could be read") from error

    def _tries(self, what: str, path: str, filters: dict[str, str]) -> Iterator[list[dict[str, Any]] | None]:
        """Yield the pages of a list, or None when it is restarted; raise UnreadError."""
        for _ in range(_RESTARTS):
            with contextlib.suppress(MarkerGoneError):
                yield from self._pages(what, path, filters)
                return
            yield None
        raise UnreadError(f"Cinder's list of {what}s changed faster than it could be read")

    def _pages(self, what: str, path: str, filters: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
        params, is_last = _params(filters), False
        while not is_last:
            page, is_last = self._next(what, path, params)
            yield page
            if page:
                params["marker"] = page[-1]["id"]

    def _next(self, what: str, path: str, params: dict[str, str]) -> tuple[list[dict[str, Any]], bool]:
        """Return a page, and whether the list ends there."""
        page = self._page(what, path, params)
        # Cinder only cuts a list at its page limit, which the API does not return. So a page that is shorter than
        # another page of this run is the last one. Without a longer page, only an empty page is the last one.
        is_last = len(page) < self._longest or not page
        self._longest = max(self._longest, len(page))
        return page, is_last


def _params(filters: dict[str, str]) -> dict[str, str]:
    return {"all_tenants": "1", "limit": str(PAGE), "sort": "created_at:asc", **filters}
