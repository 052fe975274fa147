# SPDX-License-Identifier: Apache-2.0
"""What a real Cinder shows to an administrator and hides from a user: a hidden field is unread, not empty."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from keystoneauth1 import adapter, identity
from keystoneauth1.session import Session

from dedangle.core import packing
from dedangle.core.records import Reading
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud
from dedangle.systems.cinder import api as cinder_api
from dedangle.systems.cinder import rows
from dedangle.systems.cinder.api import CinderApi
from dedangle.systems.cinder.database import CinderDatabase


def cinder(cloud: Cloud, name: str) -> CinderApi:
    login = json.loads(cloud.clouds_yaml.read_text())["clouds"][name]
    session = Session(auth=identity.V3Password(**login["auth"]))
    client = adapter.Adapter(session, service_type="block-storage", default_microversion=cinder_api.MICROVERSION)
    return CinderApi(client, session.get_project_id())


@pytest.fixture(scope="module")
def admin(cloud: Cloud) -> CinderApi:
    return cinder(cloud, "dedangle-admin")


@pytest.fixture(scope="module")
def user(cloud: Cloud) -> CinderApi:
    return cinder(cloud, "dedangle-p1")


@pytest.fixture(scope="module")
def used(cloud: Cloud) -> str:
    """A volume of p1's that a server has."""
    return Builder(cloud).server("roles", 1).volumes[1]


def test_a_volume_that_hides_its_migration_status_is_unread(admin: CinderApi, user: CinderApi, used: str) -> None:
    (volume,) = admin.volume(used).rows
    assert (volume.status, volume.migration_status) == ("in-use", None)
    assert [host for _, host in volume.hosts] == ["lab-compute-1"]
    hidden = user.volume(used)
    assert not hidden.complete
    assert f"hides the migration status of volume {used} (os-vol-mig-status-attr:migstat)" in hidden.why
    assert "volume_extension:volume_mig_status_attribute" in hidden.why


def test_a_role_that_may_see_the_migration_status_alone_is_not_told_the_hosts(
    cloud: Cloud, admin: CinderApi, used: str
) -> None:
    shown = cloud.user("p1").cinder("GET", f"/volumes/{used}").body["volume"]
    assert [each["host_name"] for each in shown["attachments"]] == [None]
    why = str(rows.why_hidden({**shown, "os-vol-mig-status-attr:migstat": None}))
    assert f"hides the hosts of the attachments of volume {used}" in why
    assert "context_is_admin" in why
    full = cloud.admin.cinder("GET", f"/volumes/{used}").body["volume"]
    # For an administrator, a missing host really means that there is none.
    hostless = {**full, "attachments": [{**each, "host_name": None} for each in full["attachments"]]}
    assert rows.why_hidden(full) is rows.why_hidden(hostless) is None


def test_what_hides_its_migration_status_is_not_quiet_in_bulk(admin: CinderApi, user: CinderApi, used: str) -> None:
    def quiet(api: CinderApi) -> set[str]:
        pages = [each for pages in api.bulk() for answer in pages for each in answer.rows]
        packed = b"".join(each.rows.packed for each in pages if isinstance(each, packing.QuietVolumes))
        return {packing.unpack(packed[at : at + packing.ID]) for at in range(0, len(packed), packing.ID)}

    assert used in quiet(admin)
    assert quiet(user) == set()


def test_a_token_that_is_confined_to_a_project_proves_nothing(admin: CinderApi, user: CinderApi, used: str) -> None:
    assert admin.sees_other_projects() == Reading((True,))
    assert user.sees_other_projects() == Reading((False,))


def test_neighbours_are_told_nearest_first(cloud: Cloud, admin: CinderApi) -> None:
    builders = [Builder(cloud, project) for project in ("p1", "p2")]
    made: list[str] = []
    for turn in range(7):
        builder = builders[turn % 2]
        body: dict[str, Any] = {"volume_uuid": builder.volume(), "instance_uuid": str(uuid.uuid4())}
        answer = builder.user.cinder("POST", "/attachments", {"attachment": body}, expect=200)
        made.append(answer.body["attachment"]["id"])
    (found,) = admin.neighbours(made[3], 3).rows
    listed = [each.id for each in _oldest_first(admin) if each.id in made]
    # Two of one second come in the order of their ids.
    at = listed.index(made[3])
    assert [each.id for each in found.younger] == listed[at + 1 : at + 4]
    assert [each.id for each in found.older][: min(at, 3)] == listed[max(at - 3, 0) : at][::-1]
    assert {each.status for each in found.younger} == {"reserved"}
    # Cinder's database tells the same of many at once.
    database = CinderDatabase(cloud.home.database_url("cinder"), 60)
    together = database.neighbours_of_many(made, 3)
    assert set(together) == set(made)
    assert together == {each: admin.neighbours(each, 3).rows[0] for each in made}
    cloud.user("p2").cinder("DELETE", f"/attachments/{made[3]}", expect=200)
    assert made[3] not in database.neighbours_of_many(made, 3)
    gone = admin.neighbours(made[3], 3)
    assert not gone.complete
    assert made[3] in gone.why


def _oldest_first(api: CinderApi) -> list[Any]:
    listed = api._list("attachment", "/attachments", {}, rows.attachment)
    assert listed.complete
    return list(listed.rows)
