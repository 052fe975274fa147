# SPDX-License-Identifier: Apache-2.0
"""The protocols of Nova, Cinder and the compute hosts: what a system must offer to be read and to be changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from dedangle.core.case import Policy
from dedangle.core.decisions import Finding, Outcome
from dedangle.core.observations import NovaView
from dedangle.core.packing import Named, Page
from dedangle.core.records import (
    Attachment,
    BlockDeviceMapping,
    Disk,
    Guest,
    HostConnection,
    Link,
    Marker,
    NamedServer,
    Reading,
    Refusal,
    Server,
    Volume,
)


class Nova(Protocol):
    def read_live(self, server_id: str) -> NovaView:
        """Read only the server and its live mappings, which is enough to see that everything pairs."""

    def observe(self, server_id: str) -> NovaView:
        """Read everything that Nova knows about the server id; `unread` names the parts that did not answer."""

    def other_servers_bdms(self, volume_ids: Collection[str], except_server: str) -> Reading[BlockDeviceMapping]:
        """Return the mappings of the volumes, live and soft-deleted, of all other servers, in every cell."""

    def servers(self, server_ids: Collection[str]) -> Reading[Server]:
        """Return the servers with these ids, live and soft-deleted, from every cell."""

    def compute_hosts(self) -> Reading[str]:
        """Return the hosts that have or had a nova-compute, in every cell."""

    def knows(self, attachments: Collection[Attachment]) -> Reading[str]:
        """Return the ids of the attachments that any mapping names, live, soft-deleted or archived."""

    def archived_bdms(self, attachments: Collection[Attachment]) -> Reading[BlockDeviceMapping]:
        """Return the archived mappings, of any server, that name one of the attachments."""

    def links(self, except_server: str, near: Collection[BlockDeviceMapping] = ()) -> Reading[Link]:
        """Return mappings of other servers whose attachments Cinder must have, in no order.

        These are the mappings created right before and right after each mapping in `near`, and some of the newest ones,
        from as many projects as possible.
        """

    def soft_delete_mapping(self, expected: BlockDeviceMapping, server: Server | None) -> Outcome:
        """Soft-delete the row if it and its server have not changed; else return CHANGED_MEANWHILE."""


class Hosts(Protocol):
    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        """Return the disks of the server's guest on the host, running and for its next start; empty without a guest."""

    def guests(self, host: str, only: Collection[str] | None = None) -> Reading[Guest]:
        """Return every domain of the host with its disks, or only those of some servers; unread if some are missing."""

    def unused_connections(self, host: str) -> Reading[HostConnection]:
        """Return the connections to storage that the host holds and that no domain there uses."""

    def acts(self, host: str) -> bool:
        """Whether the host answers and carries out removals itself."""

    def may_answer(self, host: str) -> bool:
        """Whether the host can report its guests, or timed out and may be able to.

        False without an endpoint or a connection, and if its virt driver reports no guests.
        """

    def connector(self, server_id: str, host: str) -> Reading[dict[str, Any]]:
        """Return the connector of the host, which Cinder needs to connect a volume there; it is a secret."""

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:
        """Let the host judge the server again with the instance lock held, and make the change if it still holds."""


class Ceph(Protocol):
    def watchers(self, image: str) -> Reading[str]:
        """Return the clients that have the RBD image (pool/name) open; empty if there is no such image."""


class Restoring(Nova, Protocol):
    def connection_info(self, expected: BlockDeviceMapping) -> Reading[dict[str, Any]]:
        """Return the connection_info of a live mapping, a secret; empty if it has none, unread if the row changed."""

    def name_attachment(
        self,
        expected: BlockDeviceMapping,
        server: Server,
        attachment_id: str,
        connection_info: dict[str, Any] | None,
    ) -> Outcome:
        """Let a live mapping name another attachment, with its connection_info, if the row and server are unchanged."""

    def restore_mapping(
        self,
        expected: BlockDeviceMapping,
        server: Server,
        attachment_id: str | None,
        connection_info: dict[str, Any] | None,
        *,
        multiattach: bool,
    ) -> Outcome:
        """Restore a soft-deleted row and let it name the attachment, if nothing uses its place; or CHANGED_MEANWHILE.

        connection_info is a secret. With None the row keeps its own connection_info if it names the same attachment,
        and has none otherwise.
        """


class Neighbours(NamedTuple):
    """The attachments that Cinder created right before and right after an attachment, the nearest first."""

    older: tuple[Attachment, ...]
    younger: tuple[Attachment, ...]


class Bulk(Protocol):
    """The bulk read of Cinder's rows, for the screen."""

    def bulk(self, named: Callable[[], Collection[Named]] = tuple, at_once: int = 1) -> list[Iterator[Reading[Page]]]:
        """Return the rows of each database, page by page; an incomplete reading says what was not read.

        `named` returns what some of Nova's mappings name when the first page is read. `at_once` is the number of
        requests at the same time.

        Rows that are added during the read may be missing, and rows that change during the read may appear twice.
        """

    def multiattach(self, volume_ids: Collection[str]) -> Reading[str]:
        """Return those of the volumes that are multi-attach."""

    def why_stale(self, now: datetime) -> Refusal | None:
        """Return why nothing can be concluded from what it does not show: it may be a copy that lags."""

    def volumes(self, volume_ids: Collection[str]) -> Reading[Volume]:
        """Return those of the volumes that the bulk read has kept, or that one statement returns."""

    def neighbours_of_many(self, attachment_ids: Collection[str], limit: int, /) -> dict[str, Neighbours]:
        """Return the neighbours of those of the attachments that one statement can look up; see Cinder.neighbours."""


class Fleet(Nova, Protocol):
    @property
    def cell0(self) -> str | None:
        """The name of cell0, which has the servers that no host was found for."""

    @property
    def cell_names(self) -> tuple[str, ...]: ...

    def hosts(self) -> Reading[str]:
        """Return the hosts of every cell that have a nova-compute or a live server."""

    def has_project(self, project_id: str) -> Reading[bool]:
        """Return, for each cell, whether the project has or had a server there."""

    def bulk(self) -> dict[str, Iterator[Reading[Page]]]:
        """Return the rows of each cell by its name, as Bulk.bulk does."""

    def leave_out(self, cell: str, why: str) -> None:
        """Skip the cell for the rest of the run, because it does not answer; each read of it returns the reason."""

    def at_home(self, server_ids: Collection[str]) -> Reading[str]:
        """Return those of the servers that Nova has in a cell that is not skipped."""

    def mappings_of_project(self, project_id: str, counts: Callable[[str], bool], most: float) -> Reading[int]:
        """Return the number of the project's live volume mappings in each cell, on servers for which `counts` is true.

        Skipped cells are not counted. Counting stops at `most` or more.
        """

    def observe_many(self, server_ids: Collection[str]) -> dict[str, NovaView]:
        """Return what observe() returns for each server, with as many statements as for one."""

    def links_of_many(self, near: Mapping[str, Collection[BlockDeviceMapping]]) -> dict[str, Reading[Link]]:
        """Return what links() returns for each server and its mappings."""

    def named(self, names: Collection[str]) -> Reading[NamedServer]:
        """Return the live servers with one of the names, from every cell."""

    def servers_beginning_with(self, short_id: str) -> Reading[str]:
        """Return the ids of servers, live, deleted or archived, that begin with the short id."""

    def volumes_beginning_with(self, short_id: str) -> Reading[str]:
        """Return the volume ids of live or soft-deleted mappings that begin with the short id."""


class Actions(Protocol):
    """The instance actions of one run."""

    def begin(self, server: Server) -> Reading[Marker]:
        """Record that this run will change the server, or return the other runs that are changing it now."""

    def finish(self, server: Server, *, succeeded: bool, details: str) -> Refusal | None:
        """Record the outcome; return why it could not be recorded."""


class Power(Protocol):
    """Requests to Nova to stop and start a server. Each method returns why Nova refuses; Nova acts some time later."""

    def stop(self, server_id: str) -> Refusal | None: ...

    def start(self, server_id: str) -> Refusal | None: ...


class Listing(NamedTuple):
    """The attachments of one server, the oldest first."""

    first: Reading[Attachment]
    """The first page."""
    rest: Callable[[], Reading[Attachment]]
    """Reads the list to its end, unless the first page is all of it, and returns the rows that it adds."""


class Cinder(Protocol):
    @property
    def project_id(self) -> str | None:
        """The project of the credentials. Its own attachments do not prove that other projects are visible."""

    def neighbours(self, attachment_id: str, limit: int) -> Reading[Neighbours]:
        """Return the neighbours of a live attachment, `limit` on each side; unread if the attachment is gone."""

    def sees_other_projects(self) -> Reading[bool]:
        """Return whether any of the newest volumes belongs to another project, so that the credentials see others.

        False proves nothing, because there may be no such volume. Unread if Cinder hides the project of a volume.
        """

    def sees_other_attachments(self) -> Reading[bool]:
        """Return whether any of the newest attachments is of a volume of another project; False proves nothing."""

    def attachments_of_server(self, server_id: str, named: Collection[str]) -> Listing:
        """Read the first page of the attachments of the server. If it has exactly the named ones, it is all."""

    def attachments_of_volume(self, volume_id: str) -> Reading[Attachment]: ...

    def attachment(self, attachment_id: str) -> Reading[Attachment]:
        """Return the attachment; a complete reading without rows means that Cinder has no such attachment."""

    def volume(self, volume_id: str) -> Reading[Volume]:
        """Return the volume; a complete reading without rows means that Cinder has no such volume.

        Unread if Cinder hides its migration status or the hosts of its attachments from the role of the credentials.
        """

    def volumes_with_status(self, statuses: Collection[str]) -> Reading[Volume]:
        """Return the volumes of every project that have one of the statuses."""

    def reset_status(self, expected: Volume) -> Outcome:
        """Set the volume to available and detached if it has not changed; else return CHANGED_MEANWHILE."""

    def delete_attachment(self, expected: Attachment) -> Outcome:
        """Delete the attachment if it has not changed; return REFUSED if Cinder answers 409."""


class Attaching(Cinder, Protocol):
    def create_attachment(self, volume_id: str, server_id: str) -> Reading[Attachment]:
        """Reserve the volume for the server; unread if Cinder refuses because somebody else has it."""

    def connect_attachment(self, attachment_id: str, connector: dict[str, Any]) -> Reading[dict[str, Any]]:
        """Connect the attachment through the connector's host; the answer has its connection_info, a secret."""

    def complete_attachment(self, attachment_id: str) -> Reading[Any]:
        """Set a connected attachment to attached and its volume to in-use; a complete reading means success."""

    def connection(self, attachment_id: str) -> Reading[dict[str, Any]]:
        """Return a connected attachment with its connection_info, a secret; unread if it has none."""

    def roll_back_detach(self, volume_id: str) -> Outcome:
        """Set a volume from detaching back to in-use; return CHANGED_MEANWHILE if it is not detaching."""
