# SPDX-License-Identifier: Apache-2.0
"""One cloud for all tests that need one, with dedangle's own compute manager."""

from collections.abc import Iterator

import pytest

from dedangle.lab import packages
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import LabError
from shell import Dedangle


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), progress=print) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def dedangle(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud)


@pytest.fixture(scope="session")
def mariadb() -> None:
    """What the lab on MariaDB and RabbitMQ needs of Debian; a test without it is skipped and says why."""
    try:
        packages.ensure_installed(packages.MARIADB)
    except LabError as missing:
        pytest.skip(str(missing))
