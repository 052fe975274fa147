# SPDX-License-Identifier: Apache-2.0
"""A cloud that no other test has broken: what was left there would be removed by these sweeps, some of it later."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dedangle.lab.cloud import Cloud
from shell import Configure, Dedangle


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("swept")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def dedangle(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud)


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def configure(tmp_path: Path, state_dir: Path) -> Configure:
    """Options that set others of [dedangle], and a state_dir of the test's own."""

    def write(**options: object) -> tuple[str, str]:
        lines = [f"{name} = {value}" for name, value in {"state_dir": state_dir, **options}.items()]
        # A directory is read after every file.
        (tmp_path / "conf.d").mkdir(exist_ok=True)
        (tmp_path / "conf.d" / "own.conf").write_text("\n".join(["[dedangle]", *lines, ""]))
        return "--config-dir", str(tmp_path / "conf.d")

    return write
