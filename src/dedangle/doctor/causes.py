# SPDX-License-Identifier: Apache-2.0
"""Checks of common causes of dangling attachments: a backend that is down, a Nova without a service token."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from dedangle.doctor.checks import Check, State, clock, unknown
from dedangle.systems.cinder.api import CinderApi
from dedangle.systems.nova.api import NovaApi

CINDER_VOLUME, NOVA_TOKEN = "cinder-volume", "nova service token"
CINDER_POLICIES, NOVA_CLOCK = "cinder policies", "nova clock"


def cinder_volume(cinder: CinderApi) -> Check:
    """Check that every enabled cinder-volume is up. Without it, attachments of its volumes cannot be removed."""
    found = cinder.backends()
    if not found.complete:
        return Check(CINDER_VOLUME, State.WARNING, f"Not checked: {found.why}.", "Run: openstack volume service list")
    down = sorted(backend.host for backend in found.rows if backend.is_enabled and not backend.is_up)
    if down:
        shown = ", ".join(down[:5]) + (f" and {len(down) - 5} more" if len(down) > 5 else "")
        sentence = f"cinder-volume is down for {shown}: attaches, detaches and removals of its volumes fail or hang."
        return Check(
            CINDER_VOLUME, State.WARNING, sentence, "Start cinder-volume, then run: openstack volume service list"
        )
    return Check(CINDER_VOLUME, State.OK, f"Every backend of Cinder is up or disabled ({len(found.rows)}).")


def cinder_policies(cinder: CinderApi) -> Check:
    """Check that Cinder shows the role of the credentials every field that dedangle needs."""
    found = cinder.hides()
    if not found.complete:
        return unknown(CINDER_POLICIES, found.why)
    for reason in found.rows:
        return Check(
            CINDER_POLICIES,
            State.FAIL,
            f"{reason}. dedangle judges no such volume.",
            "Use an administrator, or change the policy in policy.yaml of Cinder.",
        )
    return Check(CINDER_POLICIES, State.OK, "Cinder shows these credentials every field that dedangle needs.")


def nova_clock(nova: NovaApi, now: datetime, service_down_time: timedelta) -> Check:
    """Compare the clock of this machine with Nova's."""
    answer = nova.time()
    if not answer.complete:
        return unknown(NOVA_CLOCK, answer.why)
    return clock(answer.rows, now, service_down_time, name=NOVA_CLOCK, service="Nova")


def nova_service_token(conf: Any) -> Check:
    """Check that this nova.conf makes Nova send a service token. Without it Cinder answers every detach with 409."""
    if conf.service_user.send_service_user_token:
        return Check(NOVA_TOKEN, State.OK, "Nova sends a service token, according to this nova.conf.")
    return Check(
        NOVA_TOKEN,
        State.WARNING,
        "With this nova.conf Nova sends no service token. If nova-compute sends none either, Cinder answers every "
        "detach with 409, and the volume stays in status detaching.",
        "Set send_service_user_token = true in [service_user] of nova.conf, also on compute hosts.",
    )
