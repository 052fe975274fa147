# SPDX-License-Identifier: Apache-2.0
"""One lab for all of these tests, with Nova's own compute manager: they are about the lab."""

from collections.abc import Callable, Iterator

import pytest
from labs import NOVA_MANAGER

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), manager=NOVA_MANAGER, progress=print) as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "cloud" in request.fixturenames:
        request.getfixturevalue("cloud").faults.clear()


@pytest.fixture
def builder(cloud: Cloud) -> Builder:
    return Builder(cloud)


@pytest.fixture
def breaker(builder: Builder) -> Breaker:
    return Breaker(builder)


@pytest.fixture
def changes(cloud: Cloud) -> Callable[[], list[rows.Change]]:
    """Ask it for the rows that changed since it was asked last."""
    last = rows.snapshot(cloud.home)

    def since_last() -> list[rows.Change]:
        nonlocal last
        before, last = last, rows.snapshot(cloud.home)
        return rows.diff(before, last)

    return since_last
