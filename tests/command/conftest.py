# SPDX-License-Identifier: Apache-2.0
"""What the command's tests are built with."""

import pytest

from cases.stage import Stage
from dedangle.lab.cloud import Cloud


@pytest.fixture(scope="module")
def stage(cloud: Cloud) -> Stage:
    """A stage beside a server of another project, which the credentials must see."""
    Stage(cloud, "p2").server()
    return Stage(cloud)
