# SPDX-License-Identifier: Apache-2.0
"""One cluster of two nodes for all tests that need one, and a single server for each file that needs one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import galera
import pytest
import sqlalchemy as sa
from benchmarks.fleet.databases import MariaDb

from dedangle.lab import packages
from dedangle.lab.errors import LabError


@pytest.fixture(scope="session")
def nodes() -> Iterator[tuple[galera.Node, galera.Node]]:
    try:
        packages.ensure_installed(packages.GALERA)
    except LabError as missing:
        pytest.skip(str(missing))
    with tempfile.TemporaryDirectory() as path, galera.cluster(Path(path)) as (first, second):
        engine = first.engine()
        galera.make_tables(engine)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE brake (id INT AUTO_INCREMENT PRIMARY KEY)"))
        galera.add_server(engine, "s")
        yield first, second


@pytest.fixture(scope="module")
def single_mariadb(mariadb: None) -> Iterator[MariaDb]:
    with tempfile.TemporaryDirectory() as path:
        server = MariaDb(Path(path), "32M", "pymysql")
        with server.running():
            yield server
