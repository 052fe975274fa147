# SPDX-License-Identifier: Apache-2.0
"""A database that hangs in the middle of a run costs one time limit, not one for each question."""

import threading

import sqlalchemy as sa

from dedangle.lab.client import wait_for
from dedangle.systems.database import Database


def test_nothing_more_is_asked_while_an_answer_is_late() -> None:
    hangs, asked = threading.Event(), []

    def question(connection: sa.Connection) -> int:
        asked.append(hangs.wait())
        return int(connection.execute(sa.text("SELECT 1")).scalar_one())

    engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
    database = Database("Nova's cell2", lambda: engine, 0.1)
    begun_before = database.ask(question)
    assert database.ask(question)().why == "Nova's cell2 did not answer in 0.1 s"
    assert database.ask(question)().why == "Nova's cell2 has not answered for 0.1 s"
    assert begun_before().why == "Nova's cell2 did not answer in 0.1 s"
    hangs.set()
    assert wait_for("an answer", lambda: database.ask(question)().rows) == (1,)
    assert all(asked)
