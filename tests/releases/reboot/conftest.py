# SPDX-License-Identifier: Apache-2.0
"""A Nova of the release of this interpreter, on its own functional fixtures, with dedangle's ComputeManager."""

# First of all: it chooses threads or eventlet for the whole process, as nova.cmd does.
import nova.tests.functional  # noqa: F401, I001

import importlib.metadata
from collections.abc import Iterator

import pytest

from cloud import Cloud


def pytest_report_header() -> str:
    return f"Nova {importlib.metadata.version('nova')}"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    cloud = Cloud()
    try:
        cloud.setUp()
        yield cloud
    finally:
        cloud.doCleanups()
