# SPDX-License-Identifier: Apache-2.0
"""The statements of the bulk read: a page of rows comes as one text, on each kind of database server."""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from dedangle.core.packing import NO_ID_TEXT

# PAGE is the number of live rows of a page by text; NUMBERS is the number of keys, used or not, of a page by number.
# With three deleted rows for each live row, both read 20,000 rows. A page has 600 kB, or 2.3 MB without deleted rows.
PAGE, NUMBERS = 5000, 20000
_GROUP_CONCAT_MAX_LEN = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Source:
    """A table for the bulk read: one line for each row that matches the conditions."""

    key: sa.Column[Any]
    """A unique key with an index: a number or a text."""
    first: int | str
    """A value that is smaller than every key."""
    fields: tuple[sa.ColumnElement[Any], ...]
    """The fields of a line, separated by commas. If the key is a text, it comes before them."""
    conditions: tuple[sa.ColumnElement[bool], ...]


@dataclasses.dataclass(frozen=True)
class Packed:
    """A page of rows as one text, and the key after which the next page starts; None after the last page."""

    count: int
    last: int | str | None
    text: str


def or_none(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the id, or NO_ID_TEXT for NULL, so that all ids of a page have the same length."""
    return sa.func.coalesce(column, sa.literal_column(f"'{NO_ID_TEXT}'", sa.String), type_=sa.String)


class _Line(FunctionElement):  # type: ignore[type-arg]  # 1.4 has no parameters
    """The fields of a row, separated by commas."""

    inherit_cache = True
    type = sa.String()
    name = "line"


class _Lines(FunctionElement):  # type: ignore[type-arg]
    """The lines of all rows as one text, unsorted, because sorting would take three times as long."""

    inherit_cache = True
    type = sa.Text()
    name = "lines"


def _joined(element: Any, compiler: Any, options: dict[str, Any], comma: str) -> str:
    return comma.join(compiler.process(each, **options) for each in element.clauses)


@compiles(_Line)
def _line(element: Any, compiler: Any, **options: Any) -> str:
    return _joined(element, compiler, options, " || ',' || ")


@compiles(_Line, "mysql")
@compiles(_Line, "mariadb")
def _concat(element: Any, compiler: Any, **options: Any) -> str:
    fields = _joined(element, compiler, options, ", ',', ")
    return f"CONCAT({fields})"


@compiles(_Lines, "mysql")
@compiles(_Lines, "mariadb")
def _group_concat(element: Any, compiler: Any, **options: Any) -> str:
    # GROUP_CONCAT accepts several fields; a CONCAT for each row would be another copy.
    fields = _joined(element, compiler, options, ", ',', ")
    return f"GROUP_CONCAT({fields} SEPARATOR '\n')"


@compiles(_Lines, "postgresql")
def _string_agg(element: Any, compiler: Any, **options: Any) -> str:
    return f"string_agg({_line(element, compiler, **options)}, '\n')"


@compiles(_Lines, "sqlite")
def _group_concat_of_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"group_concat({_line(element, compiler, **options)}, '\n')"


def prepare(connection: sa.Connection) -> None:
    """Let the connection return texts of the size of a page."""
    if connection.dialect.name in ("mysql", "mariadb"):
        connection.execute(sa.text(f"SET SESSION group_concat_max_len = {_GROUP_CONCAT_MAX_LEN}"))


def page(connection: sa.Connection, question: sa.Select[Any], last: int | str) -> Packed:
    """Read the page after the key."""
    # PyMySQL needs ten times as long for 5,000 rows as for one row with all of them.
    count, last, text = connection.execute(question, {"last": last}).one()
    return Packed(count, last, "" if text is None else f"{text}\n")


def select(source: Source) -> sa.Select[Any]:
    """Return the query for the page after the key `last`."""
    return _by_number(source) if isinstance(source.first, int) else _by_text(source)


def _by_number(source: Source) -> sa.Select[Any]:
    """Return a query for the live rows of NUMBERS keys. Many deleted rows then need many short statements."""
    key, last = source.key, sa.bindparam("last", type_=sa.Integer)
    following = sa.select(sa.func.min(key) - 1).where(key > last + NUMBERS).correlate(None).scalar_subquery()
    return sa.select(sa.func.count(), following, _Lines(*source.fields)).where(
        key > last, key <= last + NUMBERS, *source.conditions
    )


def _by_text(source: Source) -> sa.Select[Any]:
    """Return a query for PAGE live rows. Deleted rows are spread evenly among them, because the keys are UUIDs.

    A range of keys would not be faster on MariaDB, which compares each key with the end of the range by collation.
    """
    after = source.key > sa.bindparam("last", type_=sa.String)
    fields = [_Line(*source.fields).label("fields")] if source.fields else []
    rows = sa.select(source.key.label("key"), *fields).where(after, *source.conditions)
    page = rows.order_by(source.key).limit(PAGE).subquery()
    last = sa.case((sa.func.count() == PAGE, sa.func.max(page.c.key)))
    return sa.select(sa.func.count(), last, _Lines(*page.c)).select_from(page)
