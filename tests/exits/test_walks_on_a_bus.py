# SPDX-License-Identifier: Apache-2.0
"""The ways out that ask nova-compute over the message bus, followed as in test_walks.py."""

from collections.abc import Iterator

import pytest

from cases.stage import Case, Planted
from dedangle.lab.cloud import Cloud
from exits.test_walks import ON_A_BUS, Walker, follow, planted, walker
from shell import Dedangle

pytestmark = pytest.mark.thorough

__all__ = ["planted", "walker"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, mariadb: None) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("bus"), database="mariadb", progress=print) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def dedangle(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud)


@pytest.mark.parametrize("case", ON_A_BUS, ids=lambda case: case.name)
def test_a_way_out_is_followed_to_its_end(case: Case, planted: dict[str, Planted], walker: Walker) -> None:
    follow(case, planted, walker)
