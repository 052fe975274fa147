# SPDX-License-Identifier: Apache-2.0
"""One cloud for all tests that need one, with dedangle's own compute manager."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dedangle.lab import packages
from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import LabError
from shell import THOROUGH, Dedangle

# What takes longest begins first, so that neither of two workers is left alone with it; the core alone is short.
ORDER = ("qemu", "compute", "cases", "sweep", "command", "docs", "faults", "lab")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only repeats, and put the folders into order."""
    if not THOROUGH:
        config.hook.pytest_deselected(items=[each for each in items if each.get_closest_marker("thorough")])
        items[:] = [each for each in items if not each.get_closest_marker("thorough")]
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return ORDER.index(folder) if folder in ORDER else len(ORDER)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), progress=print) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def dedangle(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud)


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Options of a run that waits eight seconds, not a minute, for a host that does not answer."""
    file = tmp_path_factory.mktemp("impatient") / "dedangle.conf"
    file.write_text("[dedangle]\ncell_timeout = 8\n")
    return "--config-file", str(file)


@pytest.fixture(scope="session")
def mariadb() -> None:
    """What the lab on MariaDB and RabbitMQ needs of Debian; a test without it is skipped and says why."""
    try:
        packages.ensure_installed(packages.MARIADB)
    except LabError as missing:
        pytest.skip(str(missing))
