# SPDX-License-Identifier: Apache-2.0
"""Which servers a host claims: those whose task_state nova-compute clears again if the host dies."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def claim() -> ModuleType:
    with warnings.catch_warnings():
        # Nova imports eventlet, which says that it is deprecated.
        warnings.simplefilter("ignore")
        from dedangle.compute import claim
    return claim


class Instance:
    """An instance that remembers what was saved of it."""

    def __init__(self, vm_state: str) -> None:
        self.vm_state = vm_state
        self.task_state: str | None = None
        self.saved: list[tuple[str | None, list[Any]]] = []

    def save(self, expected_task_state: list[Any]) -> None:
        self.saved.append((self.task_state, expected_task_state))


@pytest.mark.parametrize(("vm_state", "instead"), [("error", "a hard reboot"), ("soft-delete", "--no-host")])
def test_a_server_that_nova_compute_would_not_give_back_is_not_claimed(
    claim: ModuleType, vm_state: str, instead: str
) -> None:
    instance = Instance(vm_state)
    with pytest.raises(claim.ClaimError, match=instead), claim.claimed(instance):
        pytest.fail("it was claimed")
    assert (instance.task_state, instance.saved) == (None, [])


@pytest.mark.parametrize("vm_state", ["active", "stopped", "paused"])
def test_any_other_server_is_claimed_and_given_back(claim: ModuleType, vm_state: str) -> None:
    instance = Instance(vm_state)
    with claim.claimed(instance):
        assert instance.task_state == claim.CLAIM
    assert instance.saved == [(claim.CLAIM, [None]), (None, [claim.CLAIM])]
