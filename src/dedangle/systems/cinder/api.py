# SPDX-License-Identifier: Apache-2.0
"""Cinder's REST API, asked as an administrator and never with a service token."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exceptions

from dedangle.core import packing
from dedangle.core.decisions import Outcome, Result
from dedangle.core.records import Attachment, Reading, Volume
from dedangle.systems import rest
from dedangle.systems.cinder import rows as cinder_rows
from dedangle.systems.ports import Neighbours

T = TypeVar("T")

# 3.44 is what Nova itself needs, in every release since Queens.
MICROVERSION = "3.44"
_PAGE = 1000
_RESTARTS = 3
# How many of the youngest volumes are looked at for one of another project.
_SAMPLE = 50
_FEW = 5


class Backend(NamedTuple):
    """A cinder-volume service."""

    host: str
    is_up: bool
    is_enabled: bool


class CinderApi:
    """Asks through keystoneauth, which sees to address, token and repeated reads; a write is never repeated.

    project_id is that of the credentials. remaining tells how many seconds there are left for all that is still asked;
    at none nothing is asked any more.
    """

    def __init__(
        self, client: adapter.Adapter, project_id: str | None, remaining: Callable[[], float] | None = None
    ) -> None:
        self._client = client
        self.project_id = project_id
        self._remaining = remaining

    def newest_microversion(self) -> Reading[str]:
        """The newest microversion that Cinder offers, without a row where it does not tell."""
        try:
            found = self._client.get_endpoint_data()
        except ks_exceptions.ClientException as error:
            return Reading.unread(f"Cinder's address could not be found or asked ({type(error).__name__})")
        newest = found and found.max_microversion
        return Reading((".".join(map(str, newest)),) if newest else ())

    def time_of_filtered_list(self) -> Reading[datetime]:
        """Cinder's own time, told with a list filtered by server; unread where it lets nobody filter like that.

        Without resource_filters.json Cinder answers 400, and Nova's own clean-up silently does nothing.
        """
        try:
            params = {"all_tenants": "1", "limit": "1", "instance_id": str(UUID(int=0))}
            answer = self._ask("GET", "/attachments", params=params)
        except _UnreadError as error:
            return Reading.unread(str(error))
        if answer.status_code != 200 or "attachments" not in rest.body(answer):
            return Reading.unread(
                f"Cinder answered {answer.status_code} to a list of a server's attachments: {rest.message(answer)}"
            )
        return Reading(tuple(rest.date(answer)))

    def attachments_of_server(self, server_id: str, named: Collection[str]) -> Reading[Attachment]:
        reading = self._attachments({"instance_id": server_id}, frozenset(named))
        if any((each.server_id or "").lower() != server_id.lower() for each in reading.rows):
            # A filter that Cinder does not know it may ignore or take for one that nothing matches.
            return Reading.unread("Cinder listed attachments of other servers than it was asked for")
        # A user may claim an attachment for any spelling of an id, and MySQL's collation takes them for one.
        own = tuple(each for each in reading.rows if each.server_id == server_id)
        return Reading(own, reading.complete, reading.why)

    def attachments_of_volume(self, volume_id: str) -> Reading[Attachment]:
        return self._attachments({"volume_id": volume_id})

    def servers_beginning_with(self, short_id: str) -> Reading[str]:
        """Return the ids of servers that begin with it and hold an attachment.

        Cinder cannot look for the beginning of an id: every attachment is listed, a thousand with each request.
        """
        return _beginning_with(short_id, self._list("attachment", "/attachments", {}, lambda row: row["instance"]))

    def volumes_beginning_with(self, short_id: str) -> Reading[str]:
        """Return the ids of volumes that begin with it; every volume is listed, a thousand with each request."""
        return _beginning_with(short_id, self._list("volume", "/volumes", {}, lambda row: row["id"]))

    def bulk(self) -> list[Iterator[Reading[packing.Page]]]:
        """Every attachment and then every volume; a list that starts anew gives rows again."""
        attachments = self._bulk("attachment", "/attachments", cinder_rows.attachments_page)
        volumes = self._bulk("volume", "/volumes/detail", cinder_rows.volumes_page)
        return [itertools.chain(attachments, volumes)]

    def attachment(self, attachment_id: str) -> Reading[Attachment]:
        return self._one("attachment", attachment_id, cinder_rows.attachment)

    def volume(self, volume_id: str) -> Reading[Volume]:
        return self._one("volume", volume_id, cinder_rows.volume)

    def volumes_named(self, name: str) -> Reading[Volume]:
        """Return the volumes of every project with the name."""
        return self._volumes({"name": name})

    def volumes_with_status(self, statuses: Collection[str]) -> Reading[Volume]:
        found = [self._volumes({"status": status}) for status in statuses]
        # A filter that Cinder does not know it may ignore.
        rows = tuple(volume for reading in found for volume in reading.rows if volume.status in statuses)
        return Reading(tuple(dict.fromkeys(rows)), all(each.complete for each in found), _whys(found))

    def _volumes(self, filters: dict[str, str]) -> Reading[Volume]:
        try:
            rows = self._list("volume", "/volumes/detail", filters, dict)
            return Reading(tuple(map(cinder_rows.volume, rows.rows)), rows.complete, rows.why)
        except cinder_rows.HiddenError as hidden:
            return Reading.unread(str(hidden))

    def reset_status(self, expected: Volume) -> Outcome:
        """Read the volume, compare, reset: Cinder's own reset asks for no condition (os-reset_status)."""
        now = self.volume(expected.id)
        if not now.complete:
            return Outcome(result=Result.FAILED, detail=now.why)
        if now.rows != (expected,):
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the volume is not as it was")
        reset = {"os-reset_status": {"status": "available", "attach_status": "detached"}}
        done = self._write("POST", f"/volumes/{expected.id}/action", reset)
        return Outcome(result=Result.RESTORED if done.complete else Result.FAILED, detail=done.why)

    def neighbours(self, attachment_id: str, limit: int = 20) -> Reading[Neighbours]:
        """Return the attachments made right before and right after a live one; unread where either request fails."""
        params = {"all_tenants": "1", "limit": str(limit), "marker": attachment_id}
        try:
            older, younger = (
                tuple(map(cinder_rows.attachment, self._page("attachment", "/attachments", {**params, "sort": order})))
                for order in ("created_at:desc", "created_at:asc")
            )
        except _MarkerGoneError:
            return Reading.unread(f"attachment {attachment_id}, whose neighbours were looked for, is gone")
        except _UnreadError as error:
            return Reading.unread(str(error))
        return Reading((Neighbours(older, younger),))

    def sees_other_projects(self) -> Reading[bool]:
        """Return whether one of the youngest volumes is another project's, in one request; False proves nothing."""
        if self.project_id is None:
            return Reading.unread("the project of the credentials is not known")
        try:
            params = {"all_tenants": "1", "limit": str(_SAMPLE), "sort": "created_at:desc"}
            owners = [row.get(cinder_rows.OWNER) for row in self._page("volume", "/volumes/detail", params)]
        except _UnreadError as error:
            return Reading.unread(str(error))
        if None in owners:
            return Reading.unread(
                f"Cinder hides whose a volume is ({cinder_rows.OWNER}) from the role of these credentials: its policy "
                "volume_extension:volume_tenant_attribute must allow it"
            )
        return Reading((any(owner != self.project_id for owner in owners),))

    def backends(self) -> Reading[Backend]:
        """Return each cinder-volume service that Cinder knows."""
        found: Reading[list[Any]] = self._show(
            "service", "list", "/os-services?binary=cinder-volume", lambda body: list(body["services"])
        )
        rows = (
            Backend(row["host"], row["state"] == "up", row["status"] == "enabled")
            for each in found.rows
            for row in each
        )
        return Reading(tuple(rows), found.complete, found.why)

    def sees_other_attachments(self) -> Reading[bool]:
        """Return whether one of the youngest attachments is of another project's volume, in a few requests."""
        try:
            params = {"all_tenants": "1", "limit": str(_SAMPLE), "sort": "created_at:desc"}
            volume_ids = [str(row["volume_id"]) for row in self._page("attachment", "/attachments", params)]
        except _UnreadError as error:
            return Reading.unread(str(error))
        found = [self.volume(volume_id) for volume_id in list(dict.fromkeys(volume_ids))[:_FEW]]
        owners = {volume.project_id for each in found for volume in each.rows}
        return Reading((bool(owners - {self.project_id, None}),))

    def multiattach(self, volume_ids: Collection[str]) -> Reading[str]:
        found = [self.volume(volume_id) for volume_id in sorted(volume_ids)]
        shared = tuple(volume.id for each in found for volume in each.rows if volume.multiattach)
        why = next((each.why for each in found if not each.complete), "")
        return Reading(shared, not why, why)

    def encryption(self, volume_id: str) -> Reading[dict[str, Any]]:
        """The volume's encryption metadata, without a key: provider, cipher, the id of the key."""
        return self._show("volume", volume_id, f"/volumes/{volume_id}/encryption", dict)

    def delete_attachment(self, expected: Attachment) -> Outcome:
        """Read the attachment, compare, delete.

        Without a service token Cinder asks Nova at the last moment and answers 409 where Nova still uses the attachment
        (cinder volume/api.py:attachment_deletion_allowed, bug 2004555).
        """
        found = self.attachment(expected.id)
        if not found.complete:
            return Outcome(result=Result.FAILED, detail=found.why)
        for row in found.rows:
            same = (row.server_id, row.volume_id, row.status) == (
                expected.server_id,
                expected.volume_id,
                expected.status,
            )
            if not same or (expected.is_reserved and not row.is_reserved):
                return Outcome(
                    result=Result.CHANGED_MEANWHILE, detail=f"the attachment was {expected.status}, is {row.status}"
                )
        if not found.rows:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the attachment is gone already")
        try:
            answer = self._ask("DELETE", f"/attachments/{expected.id}", connect_retries=0, status_code_retries=0)
        except _UnreadError as error:
            return Outcome(result=Result.FAILED, detail=str(error))
        if answer.status_code in (200, 202, 204):
            return Outcome(result=Result.REMOVED)
        if _is_gone(answer, expected.id):
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the attachment is gone already")
        detail = f"Cinder answered {answer.status_code}: {rest.message(answer)}"
        return Outcome(result=Result.REFUSED if answer.status_code in (403, 409) else Result.FAILED, detail=detail)

    def create_attachment(self, volume_id: str, server_id: str) -> Reading[Attachment]:
        """Reserve the volume for the server.

        It is one conditional update of Cinder's, which fails where the volume is neither available nor multiattach
        (cinder volume/api.py:_attachment_reserve).
        """
        body = self._write(
            "POST", "/attachments", {"attachment": {"volume_uuid": volume_id, "instance_uuid": server_id}}
        )
        return Reading(tuple(map(cinder_rows.attachment, body.rows)), body.complete, body.why)

    def connect_attachment(self, attachment_id: str, connector: dict[str, Any]) -> Reading[dict[str, Any]]:
        """Connect the attachment through the connector's host, as Nova's attach does."""
        return self._write("PUT", f"/attachments/{attachment_id}", {"attachment": {"connector": connector}})

    def complete_attachment(self, attachment_id: str) -> Reading[dict[str, Any]]:
        """Mark a connected attachment attached, and its volume in-use."""
        return self._write("POST", f"/attachments/{attachment_id}/action", {"os-complete": {}})

    def connection(self, attachment_id: str) -> Reading[dict[str, Any]]:
        """Return a connected attachment with its connection_info, a secret; unread where Cinder shows none."""
        found = self._show(
            "attachment", attachment_id, f"/attachments/{attachment_id}", lambda body: body["attachment"]
        )
        if found.complete and not any(each.get("connection_info") for each in found.rows):
            return Reading.unread(f"Cinder shows no connection of attachment {attachment_id}")
        return found

    def roll_back_detach(self, volume_id: str) -> Outcome:
        """Let the volume be in-use again, by the conditional update of cinder volume/api.py:roll_detaching."""
        now = self.volume(volume_id)
        if not now.complete:
            return Outcome(result=Result.FAILED, detail=now.why)
        if any(each.status != "detaching" for each in now.rows) or not now.rows:
            return Outcome(result=Result.CHANGED_MEANWHILE, detail="the volume is not detaching any more")
        done = self._write("POST", f"/volumes/{volume_id}/action", {"os-roll_detaching": {}})
        return Outcome(result=Result.RESTORED if done.complete else Result.FAILED, detail=done.why)

    def _write(self, method: str, path: str, body: dict[str, Any]) -> Reading[dict[str, Any]]:
        try:
            answer = self._ask(method, path, json=body, connect_retries=0, status_code_retries=0)
        except _UnreadError as error:
            return Reading.unread(str(error))
        if answer.status_code == 204 or (answer.status_code == 202 and not answer.content):
            return Reading()
        attachment = rest.body(answer).get("attachment")
        if answer.status_code in (200, 202) and isinstance(attachment, dict):
            return Reading((attachment,))
        return Reading.unread(f"Cinder answered {answer.status_code} to {method} {path}: {rest.message(answer)}")

    def _attachments(self, filters: dict[str, str], named: frozenset[str] = frozenset()) -> Reading[Attachment]:
        return self._list("attachment", "/attachments", filters, cinder_rows.attachment, named)

    def _list(
        self,
        what: str,
        path: str,
        filters: dict[str, str],
        make: Callable[[dict[str, Any]], T],
        named: frozenset[str] = frozenset(),
    ) -> Reading[T]:
        """List what there is in all projects, to the last, empty page; one page alone where it shows what is named.

        Cinder gives attachments no next link. Sorted by age, rows that come while paging come last; a marker that was
        deleted meanwhile is answered with 404, and then the list starts anew.
        """
        rows: list[T] = []
        try:
            for page in self._tries(what, path, filters, named):
                rows = [] if page is None else [*rows, *map(make, page)]
        except _UnreadError as error:
            return Reading.unread(str(error))
        return Reading(tuple(rows))

    def _bulk(
        self, what: str, path: str, packed: Callable[[list[dict[str, Any]]], packing.Page]
    ) -> Iterator[Reading[packing.Page]]:
        try:
            for page in self._tries(what, path, {}, frozenset()):
                if page:
                    yield Reading((packed(page),))
        except _UnreadError as error:
            yield Reading.unread(str(error))

    def _tries(
        self, what: str, path: str, filters: dict[str, str], named: frozenset[str]
    ) -> Iterator[list[dict[str, Any]] | None]:
        """The pages of a list; None where it starts anew. Raises _UnreadError."""
        for _ in range(_RESTARTS):
            with contextlib.suppress(_MarkerGoneError):
                yield from self._pages(what, path, filters, named)
                return
            yield None
        raise _UnreadError(f"Cinder's list of {what}s changed faster than it could be read")

    def _pages(
        self, what: str, path: str, filters: dict[str, str], named: frozenset[str]
    ) -> Iterator[list[dict[str, Any]]]:
        params = {"all_tenants": "1", "limit": str(_PAGE), "sort": "created_at:asc", **filters}
        while True:
            page = self._page(what, path, params)
            yield page
            if not page or ("marker" not in params and {each["id"] for each in page} == named):
                return
            params["marker"] = page[-1]["id"]

    def _page(self, what: str, path: str, params: dict[str, str]) -> list[dict[str, Any]]:
        """One page of a list. Raises _UnreadError, and _MarkerGoneError where Cinder has no such marker."""
        answer = self._ask("GET", path, params=params)
        if answer.status_code == 404 and "marker" in params and params["marker"] in rest.message(answer):
            raise _MarkerGoneError
        page = rest.body(answer).get(f"{what}s")
        if answer.status_code != 200 or not isinstance(page, list):
            raise _UnreadError(f"Cinder answered {answer.status_code} to a list of {what}s: {rest.message(answer)}")
        return page

    def _one(self, what: str, ident: str, make: Callable[[dict[str, Any]], Any]) -> Reading[Any]:
        return self._show(what, ident, f"/{what}s/{ident}", lambda body: make(body[what]))

    def _show(self, what: str, ident: str, path: str, make: Callable[[dict[str, Any]], T]) -> Reading[T]:
        try:
            answer = self._ask("GET", path)
        except _UnreadError as error:
            return Reading.unread(str(error))
        if answer.status_code == 200:
            try:
                return Reading((make(rest.body(answer)),))
            except cinder_rows.HiddenError as hidden:
                return Reading.unread(str(hidden))
            except (KeyError, TypeError, AttributeError):
                return Reading.unread(f"Cinder's answer to {what} {ident} is not one of its own")
        if _is_gone(answer, ident):
            return Reading()
        return Reading.unread(f"Cinder answered {answer.status_code} to {what} {ident}: {rest.message(answer)}")

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        if self._remaining is not None:
            options["timeout"] = self._remaining()
            if options["timeout"] <= 0:
                raise _UnreadError("Cinder took all the time there was")
        try:
            # Connectors and connection_info are secrets: they are kept out of the debug log too.
            return self._client.request(path, method, raise_exc=False, log=False, **options)
        except ks_exceptions.ClientException as error:
            raise _UnreadError(f"Cinder did not answer {method} {path} ({type(error).__name__})") from error


def _whys(readings: list[Reading[Any]]) -> str:
    return next((each.why for each in readings if not each.complete), "")


class _UnreadError(Exception):
    """The question has no answer; the message says why."""


class _MarkerGoneError(Exception):
    """The last row of the page before was deleted meanwhile."""


def _beginning_with(short_id: str, reading: Reading[str | None]) -> Reading[str]:
    found = {ident for ident in reading.rows if ident and ident.startswith(short_id)}
    return Reading(tuple(sorted(found)), reading.complete, reading.why)


def _is_gone(answer: Any, ident: str) -> bool:
    """Whether Cinder itself says that it has no such row: a proxy's or a wrong endpoint's 404 says nothing of it."""
    return answer.status_code == 404 and "itemNotFound" in rest.body(answer) and ident in rest.message(answer)
