# SPDX-License-Identifier: Apache-2.0
"""Read a list of Cinder's API, sorted by id, in parts that are cut at ids that Nova names.

A part has the rows after one id, up to and including the next one. It is read page by page, and each page starts after
the last row of the page before. So every row that exists during the whole read is returned once, in one part, although
other rows are added and deleted meanwhile.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from dedangle.systems.cinder.client import BusyError, MarkerGoneError

Row = dict[str, Any]
Ask = Callable[[str | None], tuple[list[Row], bool]]
"""Return the page after a marker, and whether the list ends there."""

# The number of requests of a part without a new row.
_TRIES = 20
# Each wait is twice as long as the one before, unless Cinder sends Retry-After; a minute in total.
_WAITS, _LONGEST_WAIT = 6, 60.0


class UnsortedError(Exception):
    """The list is not in the order of its ids."""


class ChangingError(Exception):
    """Every marker is deleted before it is used."""


def cuts(known: Collection[str], parts: int) -> list[str]:
    """Return the ids at which the list is cut. Ids are random, so some of them cut the whole list evenly."""
    ids = sorted(set(known))
    return sorted({ids[number * len(ids) // parts] for number in range(1, parts)}) if len(ids) >= parts else []


def part(
    ask: Ask, at: Sequence[str], number: int, pause: Callable[[float], object] = time.sleep
) -> Iterator[list[Row]]:
    """Read one part of a list that is cut at the ids; raise UnsortedError or ChangingError.

    Cinder answers 404 if a marker was deleted meanwhile. Then an earlier one is used, and rows that were already
    returned are skipped.
    """
    start = at[number - 1] if number else None
    end = at[number] if number < len(at) else None
    earlier: list[str | None] = [None, *at[:number]]
    marker, last, tries = earlier[-1], start or "", 0
    while True:
        try:
            page, is_last = _patiently(ask, marker, pause)
        except MarkerGoneError:
            tries += 1
            if tries > _TRIES:
                raise ChangingError from None
            # The first marker is None, the beginning of the list, which cannot be deleted.
            earlier = earlier[: max(1, earlier.index(marker))] if marker in earlier else earlier
            marker = earlier[-1]
            continue
        ids = [str(row["id"]) for row in page]
        if ids != sorted(ids) or (marker or "") >= (ids[0] if ids else "~"):
            raise UnsortedError
        yield [row for row in page if row["id"] > last and (end is None or row["id"] <= end)]
        if is_last or (end is not None and ids[-1] >= end):
            return
        tries = 0 if ids[-1] > last else tries
        last, marker = max(last, ids[-1]), ids[-1]
        # A few rows of the page that are not neighbours, because neighbours may be deleted together.
        apart = (ids[0], ids[len(ids) // 2], *ids[-2:])
        earlier = [None, *at[:number], *(each for each in apart if each > (start or ""))]


def _patiently(ask: Ask, marker: str | None, pause: Callable[[float], object]) -> tuple[list[Row], bool]:
    for turn in range(_WAITS):
        try:
            return ask(marker)
        except BusyError as busy:  # noqa: PERF203  # each question is a request
            pause(min(busy.retry_after or float(2**turn), _LONGEST_WAIT))
    return ask(marker)


def together(parts: Sequence[Iterator[list[Row]]]) -> Iterator[list[Row]]:
    """Read each part in a thread and yield the pages in the order of their arrival; raise what a part raised."""
    if len(parts) == 1:
        yield from parts[0]
        return
    pages = _Pages(2 * len(parts))
    for rows in parts:
        threading.Thread(target=pages.read, args=[rows], name="dedangle Cinder's list", daemon=True).start()
    try:
        left = len(parts)
        while left:
            page = pages.queue.get()
            if isinstance(page, Exception):
                raise page
            if page is None:
                left -= 1
            else:
                yield page
    finally:
        pages.abandoned.set()


class _Pages:
    """The pages of all parts that were read and not yet taken."""

    def __init__(self, most: int) -> None:
        self.queue: queue.Queue[list[Row] | Exception | None] = queue.Queue(most)
        self.abandoned = threading.Event()

    def read(self, rows: Iterator[list[Row]]) -> None:
        try:
            for page in rows:
                self._put(page)
                if self.abandoned.is_set():
                    return
            self._put(None)
        except Exception as error:  # noqa: BLE001  # raised again in the thread that takes the pages
            self._put(error)

    def _put(self, page: list[Row] | Exception | None) -> None:
        while not self.abandoned.is_set():
            try:
                self.queue.put(page, timeout=0.5)
            except queue.Full:  # until a page is taken, or none is taken any more
                continue
            return
