# SPDX-License-Identifier: Apache-2.0
"""Cinder's REST API, used as an administrator and never with a service token."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from keystoneauth1 import exceptions as ks_exceptions

from dedangle.core import packing
from dedangle.core.records import Attachment, Reading, Refusal, Volume
from dedangle.systems import rest
from dedangle.systems.cinder import cut
from dedangle.systems.cinder import rows as cinder_rows
from dedangle.systems.cinder.client import MarkerGoneError, UnreadError
from dedangle.systems.cinder.kept import KeptVolumes
from dedangle.systems.cinder.lists import CinderLists
from dedangle.systems.ports import Listing, Neighbours

# Nova itself needs 3.44 in every release since Queens.
MICROVERSION = "3.44"
# Number of the newest volumes that are checked for one of another project.
_SAMPLE = 50
_FEW = 5
# The number of workers of a small cinder-api.
_PARTS = 4


class Backend(NamedTuple):
    """A cinder-volume service."""

    host: str
    is_up: bool
    is_enabled: bool


class CinderApi(CinderLists):
    """Reads and changes attachments and volumes as an administrator."""

    _kept: KeptVolumes | None = None

    def newest_microversion(self) -> Reading[str]:
        """Return the newest microversion of Cinder; empty if Cinder does not report it."""
        try:
            found = self._client.get_endpoint_data()
        except ks_exceptions.ClientException as error:
            return Reading.unread(rest.unanswered("Cinder", "", self._client, error))
        newest = found and found.max_microversion
        return Reading((".".join(map(str, newest)),) if newest else ())

    def time_of_filtered_list(self) -> Reading[datetime]:
        """Return Cinder's time from a list filtered by server; unread if Cinder does not allow this filter.

        Without resource_filters.json Cinder answers 400, and then Nova's own clean-up silently does nothing.
        """
        try:
            params = {"all_tenants": "1", "limit": "1", "instance_id": str(UUID(int=0))}
            answer = self._ask("GET", "/attachments", params=params)
        except UnreadError as error:
            return Reading.unread(str(error))
        if answer.status_code != 200 or "attachments" not in rest.body(answer):
            return Reading.unread(
                f"Cinder answered {answer.status_code} to a list of a server's attachments: {rest.message(answer)}"
            )
        return Reading(tuple(rest.date(answer)))

    def attachments_of_server(self, server_id: str, named: Collection[str]) -> Listing:
        def own(reading: Reading[Attachment]) -> Reading[Attachment]:
            if any((each.server_id or "").lower() != server_id.lower() for each in reading.rows):
                # If Cinder does not know a filter, it may ignore it or return an empty list.
                return Reading.unread("Cinder ignored the filter by server and listed attachments of other servers")
            # Users may create an attachment with another spelling of an id, and MySQL's collation treats both as equal.
            rows = tuple(each for each in reading.rows if each.server_id == server_id)
            return Reading(rows, reading.complete, reading.why)

        begun = self._begun({"instance_id": server_id}, frozenset(named))
        return Listing(own(begun.first), lambda: own(begun.rest()))

    def attachments_of_volume(self, volume_id: str) -> Reading[Attachment]:
        return self._list("attachment", "/attachments", {"volume_id": volume_id}, cinder_rows.attachment)

    def servers_beginning_with(self, short_id: str) -> Reading[str]:
        """Return the ids of servers with attachments that begin with the short id.

        Cinder cannot filter by the beginning of an id, so every attachment is listed, a thousand in each request.
        """
        return _beginning_with(short_id, self._list("attachment", "/attachments", {}, lambda row: row["instance"]))

    def volumes_beginning_with(self, short_id: str) -> Reading[str]:
        """Return the ids of volumes that begin with it. Every volume is listed, a thousand in each request."""
        return _beginning_with(short_id, self._list("volume", "/volumes", {}, lambda row: row["id"]))

    def bulk(
        self, named: Callable[[], Collection[packing.Named]] = tuple, at_once: int = 1
    ) -> list[Iterator[Reading[packing.Page]]]:
        """Return every attachment and then every volume; each list in up to four parts, cut at ids that Nova names.

        If a list is restarted, rows appear again.
        """
        self._kept = KeptVolumes()

        def pages() -> Iterator[Reading[packing.Page]]:
            parts, known = min(at_once, _PARTS), named()
            at = cut.cuts([each.attachment_id for each in known], parts)
            yield from self._bulk("attachment", "/attachments", cinder_rows.attachments_page, at)
            at = cut.cuts([each.volume_id for each in known], parts)
            yield from self._bulk("volume", "/volumes/detail", self._keep, at)

        return [pages()]

    def _keep(self, page: list[dict[str, Any]]) -> packing.Page:
        if self._kept:
            self._kept.add(page)
        return cinder_rows.volumes_page(page)

    def volumes(self, volume_ids: Collection[str]) -> Reading[Volume]:
        """Return those of the volumes that the bulk read returned, as they were then."""
        return Reading(self._kept.find(volume_ids) if self._kept else ())

    def volumes_named(self, name: str) -> Reading[Volume]:
        """Return the volumes of all projects that have the name."""
        return self._volumes({"name": name})

    def volumes_with_status(self, statuses: Collection[str]) -> Reading[Volume]:
        found = [self._volumes({"status": status}) for status in statuses]
        # If Cinder does not know the filter, it may ignore it.
        rows = tuple(volume for reading in found for volume in reading.rows if volume.status in statuses)
        return Reading(tuple(dict.fromkeys(rows)), all(each.complete for each in found), _whys(found))

    def _volumes(self, filters: dict[str, str]) -> Reading[Volume]:
        try:
            rows = self._list("volume", "/volumes/detail", filters, dict)
            return Reading(tuple(map(cinder_rows.volume, rows.rows)), rows.complete, rows.why)
        except cinder_rows.HiddenError as hidden:
            return Reading.unread(str(hidden))

    def neighbours(self, attachment_id: str, limit: int) -> Reading[Neighbours]:
        """Return the attachments created right before and right after a live one; unread if a request fails."""
        params = {"all_tenants": "1", "limit": str(limit), "marker": attachment_id}
        try:
            older, younger = (
                tuple(map(cinder_rows.attachment, self._page("attachment", "/attachments", {**params, "sort": order})))
                for order in ("created_at:desc", "created_at:asc")
            )
        except MarkerGoneError:
            return Reading.unread(f"attachment {attachment_id} was deleted while its neighbours were read")
        except UnreadError as error:
            return Reading.unread(str(error))
        return Reading((Neighbours(older, younger),))

    def sees_other_projects(self) -> Reading[bool]:
        """Return whether one of the newest volumes belongs to another project, in one request; False proves nothing."""
        if self.project_id is None:
            return Reading.unread("the project of the credentials is not known")
        try:
            params = {"all_tenants": "1", "limit": str(_SAMPLE), "sort": "created_at:desc"}
            owners = [row.get(cinder_rows.OWNER) for row in self._page("volume", "/volumes/detail", params)]
        except UnreadError as error:
            return Reading.unread(str(error))
        if None in owners:
            return Reading.unread(
                f"Cinder hides the project of a volume ({cinder_rows.OWNER}) from the role of these credentials. Allow "
                "it in Cinder's policy volume_extension:volume_tenant_attribute"
            )
        return Reading((any(owner != self.project_id for owner in owners),))

    def backends(self) -> Reading[Backend]:
        """Return every cinder-volume service."""
        found: Reading[list[Any]] = self._show(
            "service", "list", "/os-services?binary=cinder-volume", lambda body: list(body["services"])
        )
        rows = (
            Backend(row["host"], row["state"] == "up", row["status"] == "enabled")
            for each in found.rows
            for row in each
        )
        return Reading(tuple(rows), found.complete, found.why)

    def hides(self) -> Reading[str]:
        """Return what Cinder hides of the youngest volumes from the role of these credentials, at most one sentence."""
        try:
            params = {"all_tenants": "1", "limit": str(_SAMPLE), "sort": "created_at:desc"}
            reasons = map(cinder_rows.why_hidden, self._page("volume", "/volumes/detail", params))
            return Reading(tuple(str(reason) for reason in reasons if reason)[:1])
        except UnreadError as error:
            return Reading.unread(str(error))

    def sees_other_attachments(self) -> Reading[bool]:
        """Return whether one of the newest attachments is of a volume of another project, in a few requests."""
        try:
            params = {"all_tenants": "1", "limit": str(_SAMPLE), "sort": "created_at:desc"}
            volume_ids = [str(row["volume_id"]) for row in self._page("attachment", "/attachments", params)]
        except UnreadError as error:
            return Reading.unread(str(error))
        found = [self.volume(volume_id) for volume_id in list(dict.fromkeys(volume_ids))[:_FEW]]
        owners = {volume.project_id for each in found for volume in each.rows}
        return Reading((bool(owners - {self.project_id, None}),))

    def why_stale(self, now: datetime) -> Refusal | None:  # noqa: ARG002 - it is what others are compared with
        return None

    def multiattach(self, volume_ids: Collection[str]) -> Reading[str]:
        shown = {volume.id: Reading((volume,)) for volume in self.volumes(volume_ids).rows}
        found = [shown.get(volume_id) or self.volume(volume_id) for volume_id in sorted(volume_ids)]
        shared = tuple(volume.id for each in found for volume in each.rows if volume.multiattach)
        why = next((each.why for each in found if not each.complete), "")
        return Reading(shared, not why, why)

    def neighbours_of_many(self, _ids: Collection[str], _limit: int) -> dict[str, Neighbours]:
        """Return nothing, because Cinder's API needs requests for each attachment."""
        return {}

    def encryption(self, volume_id: str) -> Reading[dict[str, Any]]:
        """Return the volume's encryption metadata without the key: provider, cipher, id of the key."""
        return self._show("volume", volume_id, f"/volumes/{volume_id}/encryption", dict)

    def connection(self, attachment_id: str) -> Reading[dict[str, Any]]:
        """Return a connected attachment with its connection_info, a secret; unread if Cinder shows none."""
        found = self._show(
            "attachment", attachment_id, f"/attachments/{attachment_id}", lambda body: body["attachment"]
        )
        if found.complete and not any(each.get("connection_info") for each in found.rows):
            return Reading.unread(f"Cinder shows no connection of attachment {attachment_id}")
        return found


def _whys(readings: list[Reading[Any]]) -> str:
    return next((each.why for each in readings if not each.complete), "")


def _beginning_with(short_id: str, reading: Reading[str | None]) -> Reading[str]:
    found = {ident for ident in reading.rows if ident and ident.startswith(short_id)}
    return Reading(tuple(sorted(found)), reading.complete, reading.why)
