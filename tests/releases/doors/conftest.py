# SPDX-License-Identifier: Apache-2.0
"""Nova's and Cinder's databases of the release of this interpreter, and dedangle beside them."""

import contextlib
import importlib.metadata
import os
from collections.abc import Iterator

import pytest

import mariadb
from deployment import NAMES, Deployment
from world import World

DATABASE = os.environ.get("DB", "sqlite")


def pytest_report_header() -> str:
    versions = (f"{name} {importlib.metadata.version(name)}" for name in ("nova", "cinder", "SQLAlchemy"))
    return f"{', '.join(versions)}, {DATABASE}"


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    path = tmp_path_factory.mktemp("deployment")
    with contextlib.ExitStack() as stack:
        if DATABASE == "mariadb":
            urls = stack.enter_context(mariadb.running(path, NAMES))
        else:
            urls = {name: f"sqlite:///{path / name}.db" for name in NAMES}
        deployment = Deployment(path, urls)
        stack.callback(deployment.down)
        deployment.up()
        yield deployment


@pytest.fixture(scope="session")
def world(deployment: Deployment) -> World:
    return World(deployment.urls)


@pytest.fixture(params=["Cinder's API", "Cinder's database"])
def bulk(request: pytest.FixtureRequest, deployment: Deployment) -> dict[str, str]:
    """The environment that says where a fleet's attachments are read."""
    if request.param == "Cinder's API":
        return {}
    return {"OS_DEDANGLE__CINDER_DATABASE": deployment.urls["cinder"]}
