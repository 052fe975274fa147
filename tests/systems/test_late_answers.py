# SPDX-License-Identifier: Apache-2.0
"""A database or a Cinder that hangs in the middle of a run costs one time limit or two, not one for each question."""

import threading
from typing import Any

import sqlalchemy as sa
from keystoneauth1 import exceptions as ks_exceptions

from dedangle.lab.client import wait_for
from dedangle.systems.cinder.api import CinderApi
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


class Api:
    """Times out or answers, as told for one request after the other."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked = 0

    def request(self, *_: object, **__: object) -> Any:
        self.asked += 1
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Gone:
    """A proper answer of Cinder: it has no such volume."""

    status_code = 404

    def __init__(self, ident: str) -> None:
        self._ident = ident

    def json(self) -> dict[str, Any]:
        return {"itemNotFound": {"message": f"Volume {self._ident} could not be found."}}


LATE = ks_exceptions.ConnectTimeout("Request to http://cinder.example/v3/volumes/v timed out")
REFUSED = ks_exceptions.ConnectFailure("Unable to establish connection to http://cinder.example/v3")
WHY = "Cinder did not answer GET /volumes/v at http://cinder.example (ConnectTimeout)"


def test_cinder_is_not_asked_again_after_two_timeouts_in_a_row() -> None:
    api = Api(LATE, LATE)
    cinder = CinderApi(api, None)  # type: ignore[arg-type]
    whys = [cinder.volume("v").why for _ in range(4)]
    assert whys == [WHY, WHY, *[f"{WHY}, and was not asked again"] * 2]
    assert api.asked == 2
    assert cinder.roll_back_detach("v").detail == f"{WHY}, and was not asked again"


def test_a_slow_cinder_is_asked_again() -> None:
    """One answer in two is enough, of whatever kind; a refused connection costs no time."""
    api = Api(LATE, Gone("v"), LATE, REFUSED, Gone("v"), LATE, Gone("v"))
    cinder = CinderApi(api, None)  # type: ignore[arg-type]
    assert [cinder.volume("v").complete for _ in range(7)] == [False, True, False, False, True, False, True]


def test_a_late_answer_to_a_write_or_within_a_budget_is_no_silence() -> None:
    api = Api(LATE, LATE, Gone("v"))
    cinder = CinderApi(api, None)  # type: ignore[arg-type]
    assert not any(cinder.connect_attachment("a", {}).complete for _ in range(2))
    assert cinder.volume("v").absent
    hurried = CinderApi(Api(LATE, LATE, Gone("v")), None, lambda: 0.1)  # type: ignore[arg-type]
    assert [hurried.volume("v").complete for _ in range(3)] == [False, False, True]
