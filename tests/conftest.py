# SPDX-License-Identifier: Apache-2.0
"""One cloud for all tests that need one, with dedangle's own compute manager."""

import warnings
from collections.abc import Iterator

import pytest

with warnings.catch_warnings():
    # osprofiler brings webob, and that the deprecated cgi, wherever keystoneauth1 is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    import keystoneauth1.session  # noqa: F401

from dedangle.lab.cloud import Cloud
from shell import Dedangle


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud"), say=print) as cloud:
        yield cloud


@pytest.fixture(scope="session")
def dedangle(cloud: Cloud) -> Dedangle:
    return Dedangle(cloud)
