# SPDX-License-Identifier: Apache-2.0
"""Convert records to plain rows with the documented field names, for the journal and every output."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any

from dedangle.core.decisions import Finding, HostSide
from dedangle.core.records import Attachment, BlockDeviceMapping, Volume
from dedangle.core.times import utc

DESCRIPTION = ("server_name", "vm_state", "volume_name", "volume_size", "host_side")
"""What tells a person which server, volume and disk it is; no decision depends on it."""
FIELDS = (
    *("code", "remedy", "disposition", "server_id", "volume_id", "attachment_id", "bdm_uuid", "cell", "host"),
    *("project_id", "first_seen", "reason", "evidence", "next"),
    *DESCRIPTION,
)


def finding_row(finding: Finding) -> dict[str, Any]:
    """Return the documented fields of the finding, as JSON types."""
    return {name: _plain(getattr(finding, name)) for name in FIELDS}


def plain_row(record: BlockDeviceMapping | Attachment | Volume | None) -> dict[str, Any]:
    """Return every field of a row as JSON types. None of them is a secret, because no secret is read."""
    return {name: _plain(value) for name, value in dataclasses.asdict(record).items()} if record else {}


def mapping_of(row: dict[str, Any]) -> BlockDeviceMapping:
    """Return the mapping of a plain_row in the journal, without created_at, which is not compared.

    The row may be from another release of dedangle. Raises AttributeError or TypeError if it is not a mapping.
    """
    names = {each.name for each in dataclasses.fields(BlockDeviceMapping)} - {"created_at"}
    return BlockDeviceMapping(**{name: value for name, value in row.items() if name in names})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, HostSide):
        return dataclasses.asdict(value)
    return str(value) if isinstance(value, str) else value
