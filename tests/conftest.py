# SPDX-License-Identifier: Apache-2.0
"""One cloud for all tests that need one, with dedangle's own compute manager."""

from collections.abc import Iterator

import pytest

from dedangle.lab.cloud import Cloud
from shell import Dedangle


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), say=print) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def dedangle(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud)
