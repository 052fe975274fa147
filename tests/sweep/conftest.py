# SPDX-License-Identifier: Apache-2.0
"""A cloud that no other test has broken: what was left there would be removed by these sweeps, some of it later."""

from collections.abc import Iterator

import pytest

from dedangle.lab.cloud import Cloud
from shell import Dedangle


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("swept")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def dedangle(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud)
