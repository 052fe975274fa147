# SPDX-License-Identifier: Apache-2.0
"""Query a database with a timeout, and read tables in bulk page by page."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from dedangle.core.packing import Page
from dedangle.core.records import Reading
from dedangle.systems import causality, packed_rows

T = TypeVar("T")

# A node refuses a transaction that conflicts with another node's (1213, 1205) or while it has no quorum (1047, 1180);
# a connection is lost or cannot be made while HAProxy moves to another node (2003, 2006, 2013, and 0 of PyMySQL).
# MariaDB 11.6 and later refuse to change a row that has changed since it was read (1020, innodb_snapshot_isolation).
_PASSING = (0, 1020, 1047, 1180, 1205, 1213, 2003, 2006, 2013)
_PAUSE = 0.5
"""Seconds between two tries of a write."""

_AHEAD = 4


@dataclasses.dataclass(frozen=True)
class Database:
    """A database. `label` is its name in messages; `timeout` is in seconds, for one query."""

    label: str
    engine: Callable[[], sa.Engine]
    timeout: float
    _late: list[queue.Queue[Any]] = dataclasses.field(default_factory=list, init=False, repr=False, compare=False)
    """The queues of queries that timed out and have not answered yet."""

    def ask(self, question: Callable[[sa.Connection], T]) -> Callable[[], Reading[T]]:
        """Start the query in its own thread and transaction; calling the result waits for the answer.

        The answer has one row, or the reason why not. It sees everything that was answered before, on any node of a
        Galera cluster. The thread is a daemon, so that a hanging database does not prevent the end of the process. A
        write that timed out may still be committed. While a query has not answered, no other query is started, because
        each would time out too, and there may be one for every server.
        """
        asked = self._ask(question)
        return lambda: asked().reading

    def write(self, statements: Callable[[sa.Connection], T]) -> Written[T]:
        """Write in a transaction, and again if that was refused or lost, until there is an answer or no time is left.

        The statements must compare before they change anything: one that was committed, and whose answer was lost, is
        written again like one that was not.
        """
        deadline = time.monotonic() + self.timeout
        may_be_written = False
        while True:
            tried = self._ask(statements)()
            if tried.reading.complete:
                return Written(tried.reading, may_be_written)
            may_be_written = may_be_written or tried.may_be_written
            if not _passes(tried.error) or time.monotonic() + _PAUSE > deadline:
                return Written(tried.reading, may_be_written)
            time.sleep(_PAUSE)

    def _ask(self, question: Callable[[sa.Connection], T]) -> Callable[[], _Tried[T]]:
        if any(each.empty() for each in self._late):
            late = _Tried[T](Reading.unread(f"{self.label} has not answered for {self.timeout:g} s"))
            return lambda: late
        answers: queue.Queue[_Tried[T]] = queue.Queue()
        self._start(lambda: answers.put(self._answer(question)))

        def awaited() -> _Tried[T]:
            answer = self._awaited(answers)
            return _Tried(answer, may_be_written=True) if isinstance(answer, Reading) else answer

        return awaited

    def pages(self, source: packed_rows.Source, made: Callable[[str, int], Page | None]) -> Iterator[Reading[Page]]:
        """Yield what `made` returns for the text and row count of each page; the last reading says if a page failed.

        `made` returns None for a text that lacks lines. Each page is its own transaction, so the pages do not see the
        same moment. A thread reads some pages ahead, so that the database and its reader do not wait for each other.
        """
        question = packed_rows.select(source)
        answers: queue.Queue[Reading[packed_rows.Packed]] = queue.Queue(_AHEAD)
        abandoned = threading.Event()

        def run() -> None:
            last: int | str | None = source.first
            asked_again = False
            while last is not None and not abandoned.is_set():
                try:
                    # One connection for all pages, because the pool would test it before each page.
                    with self.engine().connect() as connection:
                        # The bulk read does not wait for other nodes, because each suspect is read again later.
                        causality.do_not_wait(connection)
                        with connection.begin():
                            packed_rows.prepare(connection)
                        while last is not None and not abandoned.is_set():
                            with connection.begin():
                                page = packed_rows.page(connection, question, last)
                            asked_again = False
                            answers.put(Reading((page,)))
                            last = page.last
                except Exception as error:  # noqa: BLE001, PERF203  # whatever a driver raises
                    if asked_again:
                        answers.put(self._failed(error))
                        return
                    # It is idle while another database is waited for, and a proxy may close it meanwhile.
                    asked_again = True

        self._start(run)
        try:
            more = True
            while more:
                answer = self._awaited(answers)
                if not answer.complete:
                    yield Reading.unread(answer.why)
                    return
                (page,) = answer.rows
                more = page.last is not None
                row = made(page.text, page.count)
                if row is None:
                    yield Reading.unread(
                        f"{self.label} returned a truncated answer (check group_concat_max_len and max_allowed_packet)"
                    )
                    return
                yield Reading((row,))
        finally:
            abandoned.set()
            with contextlib.suppress(queue.Empty):
                while True:
                    answers.get_nowait()

    def _start(self, run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=f"dedangle {self.label}", daemon=True).start()

    def _answer(self, question: Callable[[sa.Connection], T]) -> _Tried[T]:
        committing = False
        try:
            with self.engine().connect() as connection:
                causality.wait(connection)
                with connection.begin():
                    row = question(connection)
                    committing = True
            return _Tried(Reading((row,)))
        except Exception as error:  # noqa: BLE001  # whatever a driver raises, the database was not read
            return _Tried(self._failed(error), error, may_be_written=committing)

    def _failed(self, error: Exception) -> Reading[Any]:
        # The text of a driver's error may contain the URL with its password.
        return Reading.unread(f"{self.label} could not be read ({type(error).__name__})")

    def _awaited(self, answers: queue.Queue[T]) -> T | Reading[Any]:
        try:
            return answers.get(timeout=self.timeout)
        except queue.Empty:
            self._late.append(answers)
            return Reading.unread(f"{self.label} did not answer in {self.timeout:g} s")


@dataclasses.dataclass(frozen=True)
class Written(Generic[T]):
    """The outcome of a write."""

    reading: Reading[T]
    may_be_written: bool
    """Whether an attempt without an answer may have been committed."""


@dataclasses.dataclass(frozen=True)
class _Tried(Generic[T]):
    reading: Reading[T]
    error: Exception | None = None
    may_be_written: bool = False


def _passes(error: Exception | None) -> bool:
    """Whether the same may succeed a moment later, on another node or on this one."""
    # oslo.db raises errors of its own around those of SQLAlchemy.
    known: Any = getattr(error, "inner_exception", None) or error
    given = getattr(getattr(known, "orig", None), "args", None) or (None,)
    return given[0] in _PASSING or bool(getattr(known, "connection_invalidated", False))
