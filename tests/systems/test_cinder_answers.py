# SPDX-License-Identifier: Apache-2.0
"""Answers that a real Cinder cannot be made to give: they are unread."""

from __future__ import annotations

from typing import Any

import pytest

from dedangle.core.decisions import Result
from dedangle.systems.cinder import rows
from dedangle.systems.cinder.api import CinderApi

ATTACHMENT = {"id": "a", "instance": "s", "volume_id": "v", "status": "reserved"}
TENANT = "os-vol-tenant-attr:tenant_id"


class Answer:
    def __init__(self, status_code: int, body: dict[str, Any]) -> None:
        self.status_code, self._body, self.url = status_code, body, "http://cinder.example"

    def json(self) -> dict[str, Any]:
        return self._body


class Api:
    """Answers what it was given, one after the other."""

    def __init__(self, *answers: Answer) -> None:
        self._answers, self.asked = list(answers), list[dict[str, str]]()

    def request(self, path: str, method: str, *, params: dict[str, str] | None = None, **_: object) -> Answer:
        self.asked.append(dict(params or {}))
        return self._answers.pop(0)


def test_a_volume_has_its_name_and_size() -> None:
    row = {"id": "v", "status": "in-use", "migration_status": None}
    named = rows.volume({**row, "name": "data", "size": 20})
    assert (named.name, named.size) == ("data", 20)
    unnamed = rows.volume({**row, "name": ""})
    assert (unnamed.name, unnamed.size) == (None, None)
    assert named == unnamed


@pytest.mark.parametrize(
    ("fields", "origin"),
    [
        ({}, None),
        ({"metadata": {"team": "shop"}, "volume_image_metadata": None}, None),
        (
            {
                "metadata": {
                    "cinder.csi.openstack.org/cluster": "prod-1",
                    "csi.storage.k8s.io/pv/name": "pvc-0c6a5a0e",
                    "csi.storage.k8s.io/pvc/name": "data-postgres-0",
                    "csi.storage.k8s.io/pvc/namespace": "shop",
                }
            },
            "is of Kubernetes cluster prod-1, claim shop/data-postgres-0",
        ),
        ({"metadata": {"cinder.csi.openstack.org/cluster": "prod-1"}}, "is of Kubernetes cluster prod-1"),
        ({"volume_image_metadata": {"image_id": "i1", "image_name": "debian"}}, "is made of image debian (i1)"),
        ({"volume_image_metadata": {"image_id": "i1"}}, "is made of image (i1)"),
    ],
)
def test_metadata_tell_what_a_volume_is_for(fields: dict[str, Any], origin: str | None) -> None:
    row = {"id": "v", "status": "in-use", "migration_status": None, "os-vol-mig-status-attr:migstat": None}
    assert rows.volume({**row, **fields}).origin == origin


@pytest.mark.parametrize(
    ("volumes", "rows", "complete"),
    [
        ([], (False,), True),
        ([{TENANT: "own"}], (False,), True),
        ([{TENANT: "own"}, {TENANT: "other"}], (True,), True),
        ([{TENANT: "other"}, {"id": "v"}], (), False),
    ],
)
def test_whether_the_token_sees_other_projects(volumes: list[dict[str, str]], rows: Any, complete: bool) -> None:
    api = Api(Answer(200, {"volumes": volumes}))
    reading = CinderApi(api, "own").sees_other_projects()
    assert (reading.rows, reading.complete) == (rows, complete)
    assert api.asked == [{"all_tenants": "1", "limit": "50", "sort": "created_at:desc"}]
    assert complete or TENANT in reading.why


def test_without_a_project_or_an_answer_nothing_is_told_of_others() -> None:
    assert not CinderApi(Api(), None).sees_other_projects().complete
    refused = CinderApi(Api(Answer(503, {})), "own").sees_other_projects()
    assert "503" in refused.why


@pytest.mark.parametrize("failing", [0, 1])
def test_neighbours_of_one_side_are_none(failing: int) -> None:
    row = {"id": "a", "instance": "s", "volume_id": "v", "status": "attached"}
    answers = [Answer(200, {"attachments": [row]}), Answer(200, {"attachments": [row]})]
    answers[failing] = Answer(500, {"computeFault": {"message": "no database"}})
    reading = CinderApi(Api(*answers), None).neighbours("b", 4)
    assert reading.rows == ()
    assert reading.why == "Cinder answered 500 to a list of attachments: no database"


def test_a_page_that_is_shorter_than_another_of_the_run_is_the_last() -> None:
    """Cinder's API does not tell how many rows a page may have (osapi_max_limit)."""
    rows = [{"id": ident, "instance": "s", "volume_id": "v", "status": "attached"} for ident in "abc"]
    pages = [rows[:2], rows[2:], rows[:1], rows[:2], []]
    api = Api(*(Answer(200, {"attachments": page}) for page in pages))
    cinder = CinderApi(api, None)
    listing = cinder.attachments_of_server("s", ())
    assert [each.id for each in listing.first.rows] == ["a", "b"]
    assert [each.id for each in listing.rest().rows] == ["c"]
    assert [each.get("marker") for each in api.asked] == [None, "b"]
    assert [each.id for each in cinder.attachments_of_volume("v").rows] == ["a"]
    assert len(api.asked) == 3
    # One that is as long as the longest may be cut.
    assert [each.id for each in cinder.attachments_of_volume("v").rows] == ["a", "b"]
    assert [each.get("marker") for each in api.asked[3:]] == [None, "b"]


@pytest.mark.parametrize(("seen_after", "result"), [((), Result.REMOVED), ((ATTACHMENT,), Result.FAILED)])
def test_a_deletion_that_failed_is_looked_for(seen_after: tuple[dict[str, str], ...], result: Result) -> None:
    gone = Answer(404, {"itemNotFound": {"message": f"Attachment {ATTACHMENT['id']} could not be found."}})
    after = [Answer(200, {"attachment": each}) for each in seen_after] or [gone]
    asked = Api(
        Answer(200, {"attachment": ATTACHMENT}), Answer(500, {"computeFault": {"message": "no database"}}), *after
    )
    outcome = CinderApi(asked, None).delete_attachment(rows.attachment(ATTACHMENT))  # type: ignore[arg-type]
    assert outcome.result is result
    assert "Cinder answered 500: no database" in outcome.detail
