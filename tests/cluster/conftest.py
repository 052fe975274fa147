# SPDX-License-Identifier: Apache-2.0
"""One cloud on three Galera nodes behind HAProxy, which sends everything to the first that is up."""

from collections.abc import Iterator

import pytest

from cluster.nodes import Cluster
from dedangle.lab import packages
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import LabError


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    try:
        packages.ensure_installed(packages.GALERA)
    except LabError as missing:
        pytest.skip(str(missing))
    with Cloud(tmp_path_factory.mktemp("cluster"), database="galera", progress=print) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def cluster(cloud: Cloud) -> Cluster:
    made = Cluster(cloud)
    made.prepare()
    return made


@pytest.fixture(autouse=True)
def _whole_again(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").make_whole()
