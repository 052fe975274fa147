# SPDX-License-Identifier: Apache-2.0
"""Checks of what makes attachments dangle: a backend that is down, a Nova that Cinder does not obey."""

from __future__ import annotations

from typing import Any

from dedangle.doctor.checks import Check, State
from dedangle.systems.cinder.api import CinderApi

CINDER_VOLUME, NOVA_TOKEN = "cinder-volume", "nova service token"


def cinder_volume(cinder: CinderApi) -> Check:
    """Whether every enabled cinder-volume is up: without its own one, no attachment of a backend can be removed."""
    found = cinder.backends()
    if not found.complete:
        return Check(
            CINDER_VOLUME, State.WARNING, f"Not checked: {found.why}.", "Look at: openstack volume service list"
        )
    down = sorted(backend.host for backend in found.rows if backend.is_enabled and not backend.is_up)
    if down:
        shown = ", ".join(down[:5]) + (f" and {len(down) - 5} more" if len(down) > 5 else "")
        sentence = f"cinder-volume is down for {shown}: attaches, detaches and removals of its volumes fail or hang."
        return Check(CINDER_VOLUME, State.WARNING, sentence, "Start it; look at: openstack volume service list")
    return Check(CINDER_VOLUME, State.OK, f"All {len(found.rows)} backends of Cinder are up or disabled.")


def nova_service_token(conf: Any) -> Check:
    """Whether this nova.conf lets Nova send its service token: without one Cinder answers each detach with 409."""
    if conf.service_user.send_service_user_token:
        return Check(NOVA_TOKEN, State.OK, "Nova sends a service token, as this nova.conf says.")
    return Check(
        NOVA_TOKEN,
        State.WARNING,
        "This nova.conf lets Nova send no service token. Where nova-compute has none either, Cinder answers each "
        "detach with 409, and the volume stays detaching.",
        "Set send_service_user_token = true in [service_user] of nova.conf, on compute hosts too.",
    )
