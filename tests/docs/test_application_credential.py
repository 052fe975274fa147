# SPDX-License-Identifier: Apache-2.0
"""An application credential is not enough for Cinder's question to Nova, as the manual's security page says."""

import json

from keystoneauth1 import identity, session

from cases.stage import Stage
from dedangle.lab import rows
from dedangle.lab.cloud import Cloud
from shell import Dedangle


def test_a_connected_attachment_stays(cloud: Cloud, dedangle: Dedangle) -> None:
    stage = Stage(cloud)
    # What the credentials must see.
    Stage(cloud, "p2").server()
    server = stage.server()
    stage.breaks.delete_server_while_cinder_fails(server.id)
    login = json.loads(cloud.clouds_yaml.read_text())["clouds"]["dedangle-admin"]["auth"]
    admin = session.Session(auth=identity.V3Password(**login))
    users = f"{cloud.home.url('keystone')}/users/{admin.get_user_id()}"
    made = admin.post(f"{users}/application_credentials", json={"application_credential": {"name": server.id}})
    credential = made.json()["application_credential"]
    before = rows.snapshot(cloud.home)
    environment = {
        "OS_AUTH_TYPE": "v3applicationcredential",
        "OS_AUTH_URL": login["auth_url"],
        "OS_APPLICATION_CREDENTIAL_ID": credential["id"],
        "OS_APPLICATION_CREDENTIAL_SECRET": credential["secret"],
    }

    [told] = [
        each for each in json.loads(dedangle("doctor", "-f", "json", **environment).out) if each["state"] == "fail"
    ]
    assert told["check"] == "credentials"
    assert "delegated" in told["sentence"]

    done = dedangle("cleanup", server.id, "--execute", "--yes", "-f", "json", **environment)

    assert done.code == 5, done.err
    assert {each["outcome"] for each in done.findings} == {"failed"}, done.err
    assert rows.diff(before, rows.snapshot(cloud.home)) == []
