# SPDX-License-Identifier: Apache-2.0
"""Lists of Cinder's REST API, page by page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from dedangle.core import packing
from dedangle.core.records import Reading
from dedangle.systems.cinder.client import MarkerGoneError, UnreadError
from dedangle.systems.cinder.writes import CinderWrites

T = TypeVar("T")

PAGE = 1000
_RESTARTS = 3


class CinderLists(CinderWrites):
    """Lists of attachments and volumes of all projects."""

    _longest = 0
    """The number of rows of the longest page so far. Cinder's page limit (osapi_max_limit) is not lower."""

    def _list(
        self,
        what: str,
        path: str,
        filters: dict[str, str],
        make: Callable[[dict[str, Any]], T],
        named: frozenset[str] = frozenset(),
    ) -> Reading[T]:
        """List the rows of all projects to the last page, or only the first page if it has exactly the named rows.

        Cinder gives lists of attachments no next link. Rows are sorted by age, so that new rows come last. If the
        marker was deleted meanwhile, Cinder answers 404, and the list is restarted.
        """
        rows: list[T] = []
        try:
            for page in self._tries(what, path, filters, named):
                rows = [] if page is None else [*rows, *map(make, page)]
        except UnreadError as error:
            return Reading.unread(str(error))
        return Reading(tuple(rows))

    def _bulk(
        self, what: str, path: str, packed: Callable[[list[dict[str, Any]]], packing.Page]
    ) -> Iterator[Reading[packing.Page]]:
        try:
            for page in self._tries(what, path, {}, frozenset()):
                if page:
                    yield Reading((packed(page),))
        except UnreadError as error:
            yield Reading.unread(str(error))

    def _tries(
        self, what: str, path: str, filters: dict[str, str], named: frozenset[str]
    ) -> Iterator[list[dict[str, Any]] | None]:
        """Yield the pages of a list, or None when it is restarted; raise UnreadError."""
        for _ in range(_RESTARTS):
            with contextlib.suppress(MarkerGoneError):
                yield from self._pages(what, path, filters, named)
                return
            yield None
        raise UnreadError(f"Cinder's list of {what}s changed faster than it could be read")

    def _pages(
        self, what: str, path: str, filters: dict[str, str], named: frozenset[str]
    ) -> Iterator[list[dict[str, Any]]]:
        params = {"all_tenants": "1", "limit": str(PAGE), "sort": "created_at:asc", **filters}
        while True:
            page = self._page(what, path, params)
            # Cinder only cuts a list at its page limit, which the API does not return. So a page that is shorter than
            # another page of this run is the last one. Without a longer page, only an empty page is the last one.
            is_last = len(page) < self._longest or not page
            self._longest = max(self._longest, len(page))
            yield page
            if is_last or ("marker" not in params and {each["id"] for each in page} == named):
                return
            params["marker"] = page[-1]["id"]
