# SPDX-License-Identifier: Apache-2.0
"""Read the answers of Nova's and Cinder's APIs, and name the address if there is none."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exceptions


def body(answer: Any) -> dict[str, Any]:
    """Return the JSON object of an answer; empty if the answer is not a JSON object."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def message(answer: Any) -> str:
    """Return the error message of the service on one line, but not the HTML page of a proxy."""
    for value in body(answer).values():
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            return "".join(each for each in " ".join(value["message"].split()) if each.isprintable())
    return f"the answer{_at(str(answer.url))} is not from the service itself"


def date(answer: Any) -> Iterator[datetime]:
    """Yield the time of the Date header of an answer, to the second, if there is one."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (TypeError, ValueError):
        return
    yield moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def retry_after(answer: Any) -> float:
    """Return the seconds of the header Retry-After; 0 without it, or if it is a date."""
    try:
        return max(0.0, float(answer.headers.get("Retry-After", 0)))
    except (AttributeError, TypeError, ValueError):
        return 0.0


def unanswered(service: str, request: str, client: adapter.Adapter, error: ks_exceptions.ClientException) -> str:
    """Return why a service gave no answer: which address was asked, or how the address was looked for."""
    if isinstance(error, ks_exceptions.EndpointNotFound):
        endpoint = " ".join(filter(None, (client.interface, "endpoint of type", client.service_type)))
        region = f" in region {client.region_name}" if client.region_name else ""
        return (
            f"Keystone's catalog has no {endpoint}{region}; [cinder] catalog_info and os_region_name of nova.conf name "
            "it, and openstack catalog list shows what there is"
        )
    return f"{service} did not answer{request and ' '}{request}{_at(str(error))} ({type(error).__name__})"


def _at(text: str) -> str:
    """Return the scheme, host and port of the first URL in a text, without what may be secret."""
    for found in re.findall(r"https?://[^\s'\"]+", text):
        url = urlsplit(found)
        with contextlib.suppress(ValueError):
            return f" at {url.scheme}://{url.hostname}{f':{url.port}' if url.port else ''}"
    return ""
