# SPDX-License-Identifier: Apache-2.0
"""A wrong address, region, password or cloud: the message says what was tried, where it is from, and what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dedangle.lab.cloud import Cloud
from shell import Dedangle, Done

Audit = Callable[..., Done]


@pytest.fixture
def audit(dedangle: Dedangle, tmp_path: Path) -> Audit:
    """Audits with a section of nova.conf that is wrong, or with an environment that is."""

    def run(section: str = "", **environment: str) -> Done:
        path = tmp_path / "wrong.conf"
        path.write_text(section)
        return dedangle("audit", "--config-file", str(path), **environment)

    return run


def said(done: Done, code: int, *parts: str) -> None:
    assert done.code == code
    assert [part for part in parts if part not in done.err] == [], done.err


def test_region_that_the_catalog_lacks(audit: Audit) -> None:
    done = audit("[cinder]\nos_region_name = Nowhere\n")
    said(done, 5, "no public endpoint of type block-storage in region Nowhere", "[cinder] catalog_info", "catalog list")
    assert done.err.endswith("nothing could be judged; to find the cause, run: dedangle doctor.\n")


@pytest.mark.thorough
def test_service_type_that_the_catalog_lacks(audit: Audit) -> None:
    said(
        audit("[cinder]\ncatalog_info = volumev9::public\n"), 5, "no public endpoint of type volumev9 in region Region"
    )


def test_address_where_nothing_listens(audit: Audit) -> None:
    done = audit("[cinder]\nendpoint_template = http://me:secret@127.0.0.1:1/v3/%(project_id)s\n")
    said(done, 5, "Cinder did not answer GET /attachments at http://127.0.0.1:1 (ConnectFailure)")
    assert "secret" not in done.err


def test_address_of_another_service(audit: Audit, cloud: Cloud) -> None:
    keystone = cloud.home.url("keystone")
    done = audit(f"[cinder]\nendpoint_template = {keystone}/%(project_id)s\n")
    said(done, 5, f"the answer at {keystone.rsplit('/', 1)[0]} is not from the service itself")


def test_auth_url_that_is_not_keystones(audit: Audit, cloud: Cloud) -> None:
    url = f"{cloud.home.url('keystone')}/wrong"
    done = audit(f"[cinder]\nauth_url = {url}\n")
    said(done, 5, f"Keystone did not answer at {url} (auth_url from [cinder] of nova.conf)", "Check that auth_url is")


@pytest.mark.thorough
def test_user_that_keystone_does_not_know(audit: Audit) -> None:
    said(
        audit("[cinder]\nusername = nobody\n"),
        2,
        "refuses user nobody of project service",
        "Correct auth_type, auth_url",
    )


def test_own_section_that_is_wrong(audit: Audit) -> None:
    done = audit("[dedangle]\nauth_type = passwort\n")
    said(done, 2, "credentials from [dedangle] of nova.conf cannot be used: The plugin passwort could not be found.")


def test_cloud_without_an_entry(audit: Audit, cloud: Cloud) -> None:
    done = audit(OS_CLOUD="elsewhere", OS_CLIENT_CONFIG_FILE=str(cloud.clouds_yaml))
    said(done, 2, f"OS_CLOUD is elsewhere, but {cloud.clouds_yaml} has no such cloud.", "openstack configuration show")


def test_wrong_password_of_a_cloud(audit: Audit, cloud: Cloud, tmp_path: Path) -> None:
    wrong = tmp_path / "clouds.yaml"
    wrong.write_text(cloud.clouds_yaml.read_text().replace("labadmin", "wrong"))
    done = audit(OS_CLOUD="dedangle-admin", OS_CLIENT_CONFIG_FILE=str(wrong))
    said(
        done,
        2,
        f"(auth_url from cloud dedangle-admin of {wrong}) refuses user admin of project admin: Unauthorized.",
        "Test the credentials with: openstack --os-cloud dedangle-admin token issue.",
    )


def test_environment_without_a_password(audit: Audit, cloud: Cloud) -> None:
    done = audit(OS_AUTH_URL=cloud.home.url("keystone"), OS_USERNAME="admin")
    said(done, 2, "from the environment variables OS_* are incomplete: password is a required attribute.")
