# SPDX-License-Identifier: Apache-2.0
"""What a system must offer to be read, and to be changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, Protocol

from dedangle.core.case import Policy
from dedangle.core.decisions import Finding, Outcome
from dedangle.core.ghosts import Guest
from dedangle.core.observations import NovaView
from dedangle.core.packing import Page
from dedangle.core.records import (
    Attachment,
    BlockDeviceMapping,
    Disk,
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
        """Read the server and its live mappings only: enough to see that everything pairs."""

    def observe(self, server_id: str) -> NovaView:
        """Read all that Nova knows of the server id; what did not answer is named in `unread`."""

    def other_servers_bdms(self, volume_ids: Collection[str], except_server: str) -> Reading[BlockDeviceMapping]:
        """Return the mappings of the volumes, live and soft-deleted, of all other servers, in every cell."""

    def servers(self, server_ids: Collection[str]) -> Reading[Server]:
        """The servers with these ids, live and soft-deleted, as far as any cell has them."""

    def knows(self, attachments: Collection[Attachment]) -> Reading[str]:
        """The ids of those attachments that any mapping names, live, soft-deleted or archived; unread if not told."""

    def links(self, except_server: str, near: Collection[BlockDeviceMapping] = ()) -> Reading[Link]:
        """Mappings of other servers whose attachments Cinder must have.

        Those made right before and right after each of the mappings `near`, and some of the youngest, from as many
        projects as can be. In no order.
        """

    def soft_delete_mapping(self, expected: BlockDeviceMapping, server: Server | None) -> Outcome:
        """Soft-delete the row if it and its server are still as expected; else CHANGED_MEANWHILE."""


class Hosts(Protocol):
    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        """The disks of the server's guest on the host, running and for its next start; none: no guest is there."""

    def guests(self, host: str) -> Reading[Guest]:
        """Every guest of the host with its disks; unread if it does not report them all."""

    def acts(self, host: str) -> bool:
        """Whether the host carries removals out itself, and answers."""

    def may_answer(self, host: str) -> bool:
        """Whether the host runs dedangle, or timed out and may run it; False: it has no endpoint or is unreachable."""

    def connector(self, server_id: str, host: str) -> Reading[dict[str, Any]]:
        """What Cinder must know of the host to connect a volume of the server there; a secret."""

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:
        """Have the host judge the server anew, under the instance lock, and do what is found if it still holds."""


class Restoring(Nova, Protocol):
    def connection_info(self, expected: BlockDeviceMapping) -> Reading[dict[str, Any]]:
        """Return the connection of a live mapping, a secret; no rows where it has none, unread where it changed."""

    def name_attachment(
        self,
        expected: BlockDeviceMapping,
        server: Server,
        attachment_id: str,
        connection_info: dict[str, Any] | None,
    ) -> Outcome:
        """Let a live mapping name another attachment and keep its connection, if it and its server are as expected."""

    def restore_mapping(
        self,
        expected: BlockDeviceMapping,
        server: Server,
        attachment_id: str | None,
        connection_info: dict[str, Any] | None,
        *,
        multiattach: bool,
    ) -> Outcome:
        """Revive a soft-deleted row that names the attachment, if nothing has taken its place; else CHANGED_MEANWHILE.

        connection_info is a secret; None leaves what the row has where it names the same attachment, and nothing where
        it names another.
        """


class Bulk(Protocol):
    """Cinder's side of a whole cloud, for the screen."""

    def bulk(self) -> list[Iterator[Reading[Page]]]:
        """What each database holds, page by page; an incomplete reading says what was not read.

        Rows may be missing that came, and rows may be there twice that changed, while the pages were read.
        """

    def multiattach(self, volume_ids: Collection[str]) -> Reading[str]:
        """Those of the volumes that several servers may share."""


class Fleet(Nova, Protocol):
    @property
    def cell0(self) -> str | None:
        """The name of the cell of servers that no host took."""

    @property
    def cell_names(self) -> tuple[str, ...]: ...

    def hosts(self) -> Reading[str]:
        """Return the hosts of every cell that have a nova-compute or a live server."""

    def has_project(self, project_id: str) -> Reading[bool]:
        """Return, for each cell, whether the project has or had a server there."""

    def bulk(self) -> dict[str, Iterator[Reading[Page]]]:
        """What each cell holds, by its name; as Bulk.bulk."""

    def leave_out(self, cell: str, why: str) -> None:
        """Ask the cell nothing more in this run: it is silent, and the reason is given in its place."""

    def at_home(self, server_ids: Collection[str]) -> Reading[str]:
        """Those of the servers that Nova puts into a cell that is not left out."""

    def mappings_of_project(self, project_id: str, counts: Callable[[str], bool], most: float) -> Reading[int]:
        """How many live volume mappings the project has in each cell that is not left out, on servers that count.

        Counting ends where they are `most` and more.
        """

    def named(self, names: Collection[str]) -> Reading[NamedServer]:
        """Live servers with one of the names, in every cell."""

    def servers_beginning_with(self, short_id: str) -> Reading[str]:
        """Return the ids of servers, live, deleted or archived, that begin with it."""

    def volumes_beginning_with(self, short_id: str) -> Reading[str]:
        """Return the ids of volumes that begin with it, of block device mappings that are live or soft-deleted."""


class Actions(Protocol):
    """The instance actions of one run."""

    def begin(self, server: Server) -> Reading[Marker]:
        """Record that the server is about to be changed, unless other runs change it just now, which are returned."""

    def finish(self, server: Server, *, succeeded: bool, details: str) -> Refusal | None:
        """Record the outcome; return why it could not be recorded."""


class Power(Protocol):
    """Each method asks Nova to act, which it does some time later, and returns why it refuses."""

    def stop(self, server_id: str) -> Refusal | None: ...

    def start(self, server_id: str) -> Refusal | None: ...


class Neighbours(NamedTuple):
    """The attachments that Cinder made right before and right after one of its own, the nearest first."""

    older: tuple[Attachment, ...]
    younger: tuple[Attachment, ...]


class Cinder(Protocol):
    @property
    def project_id(self) -> str | None:
        """The project of the token, whose attachments prove nothing about other projects' being seen."""

    def neighbours(self, attachment_id: str, limit: int = 20) -> Reading[Neighbours]:
        """Return the neighbours of a live attachment, `limit` to each side; unread where it is gone."""

    def sees_other_projects(self) -> Reading[bool]:
        """Return whether any of the youngest volumes is another project's: the token is then not confined to its own.

        False proves nothing: there may be no volume of another project. Unread where Cinder hides whose a volume is.
        """

    def sees_other_attachments(self) -> Reading[bool]:
        """Return whether any of the youngest attachments is of another project's volume; False proves nothing."""

    def attachments_of_server(self, server_id: str, named: Collection[str]) -> Reading[Attachment]:
        """One question where the answer is just what is named, and else as many as it takes to see the end."""

    def attachments_of_volume(self, volume_id: str) -> Reading[Attachment]: ...

    def attachment(self, attachment_id: str) -> Reading[Attachment]:
        """No rows in a complete reading: Cinder itself said that it has no such attachment."""

    def volume(self, volume_id: str) -> Reading[Volume]:
        """No rows in a complete reading: Cinder itself said that it has no such volume.

        Unread where Cinder hides its migration status or the hosts of its attachments from the role of the token.
        """

    def volumes_with_status(self, statuses: Collection[str]) -> Reading[Volume]:
        """Return the volumes of every project that have one of the statuses."""

    def reset_status(self, expected: Volume) -> Outcome:
        """Set the volume available and detached if it is still as expected; else CHANGED_MEANWHILE."""

    def delete_attachment(self, expected: Attachment) -> Outcome:
        """Delete the attachment if it is still as expected; Cinder's own veto (409) is REFUSED."""


class Attaching(Cinder, Protocol):
    def create_attachment(self, volume_id: str, server_id: str) -> Reading[Attachment]:
        """Reserve the volume for the server; Cinder refuses where anybody else has it."""

    def connect_attachment(self, attachment_id: str, connector: dict[str, Any]) -> Reading[dict[str, Any]]:
        """Connect it through the connector's host; the answer holds its connection_info, a secret."""

    def complete_attachment(self, attachment_id: str) -> Reading[Any]:
        """Mark a connected attachment attached, and its volume in-use; no rows in a complete reading: done."""

    def connection(self, attachment_id: str) -> Reading[dict[str, Any]]:
        """Return a connected attachment with its connection_info, a secret; unread if it has none."""

    def roll_back_detach(self, volume_id: str) -> Outcome:
        """Let a volume that is `detaching` be `in-use` again; CHANGED_MEANWHILE if it is not detaching."""
