# SPDX-License-Identifier: Apache-2.0
"""The control read: when Cinder's word of absence is believed, and which side has lost rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import pytest

from dedangle.core.observations import NovaView
from dedangle.core.records import Attachment, BlockDeviceMapping, Link, Reading, Server, Volume
from dedangle.reconcile.control import ControlRead, Trust
from dedangle.systems.ports import Neighbours

OWN, OTHER = "project-of-the-token", "project-2"
SERVER = "server-0"


def link(number: int, *, server: str = "", project: str = OTHER) -> Link:
    name = server or f"server-{number}"
    return Link(
        server_id=name,
        volume_id=f"volume-{number}",
        attachment_id=f"attachment-{number}",
        cell="cell1",
        number=number,
        project_id=project,
    )


def mapping(number: int) -> BlockDeviceMapping:
    return BlockDeviceMapping(
        id=number,
        uuid=f"bdm-{number}",
        cell="cell1",
        server_id=SERVER,
        volume_id=f"volume-{number}",
        attachment_id=f"attachment-{number}",
        has_connection_info=True,
    )


def attachment(number: int, server: str | None = None, status: str = "attached") -> Attachment:
    name = server or f"server-{number}"
    return Attachment(id=f"attachment-{number}", server_id=name, volume_id=f"volume-{number}", status=status)


@dataclasses.dataclass
class FakeNova:
    others: tuple[Link, ...] = ()
    named: frozenset[str] = frozenset()
    tells: bool = True
    unread: str = ""

    def links(self, except_server: str, near: Collection[BlockDeviceMapping] = ()) -> Reading[Link]:
        assert all(each.server_id != except_server for each in self.others)
        return Reading(self.others, not self.unread, self.unread)

    def knows(self, attachments: Collection[Attachment]) -> Reading[str]:
        if not self.tells:
            return Reading.unread("only the databases tell")
        return Reading(tuple(each.id for each in attachments if each.id in self.named))


@dataclasses.dataclass
class FakeCinder:
    there: frozenset[int] = frozenset()
    project_id: str | None = OWN
    other_projects: bool = True
    other_attachments: bool = False
    most_neighbours: int = 20
    by_age: tuple[Attachment, ...] = ()
    asked: list[str] = dataclasses.field(default_factory=list)

    def attachments_of_volume(self, volume_id: str) -> Reading[Attachment]:
        self.asked.append(volume_id)
        number = int(volume_id.removeprefix("volume-"))
        return Reading((attachment(number),) if number in self.there else ())

    def volume(self, volume_id: str) -> Reading[Volume]:
        return Reading((Volume(id=volume_id, status="available"),))

    def sees_other_attachments(self) -> Reading[bool]:
        return Reading((self.other_attachments,))

    def sees_other_projects(self) -> Reading[bool]:
        return Reading((self.other_projects,))

    def neighbours(self, attachment_id: str, limit: int) -> Reading[Neighbours]:
        self.asked.append(f"{limit} neighbours")
        if limit > self.most_neighbours:
            return Reading.unread("Cinder did not answer")
        place = [each.id for each in self.by_age].index(attachment_id)
        older, younger = self.by_age[:place][::-1], self.by_age[place + 1 :]
        return Reading((Neighbours(older[:limit], younger[:limit]),))


def before(*numbers: int, project: str = OTHER) -> NovaView:
    server = Server(id=SERVER, cell="cell1", project_id=project, host="host-1", vm_state="active")
    return NovaView(server_id=SERVER, servers=(server,), mappings=tuple(map(mapping, numbers)))


def trust(there: Collection[int], others: Collection[int], lost: int = 10) -> Trust:
    nova, cinder = FakeNova(tuple(map(link, others))), FakeCinder(frozenset(there))
    return ControlRead(nova, cinder).trust(before(1, lost), [attachment(1, SERVER)], [f"attachment-{lost}"])


def test_one_lost_attachment_among_healthy_ones_is_believed_after_a_few_questions() -> None:
    cinder = FakeCinder(frozenset(range(20)))
    nova = FakeNova(tuple(link(each) for each in range(2, 20) if each != 10))
    assert ControlRead(nova, cinder).trust(before(1, 10), [attachment(1, SERVER)], ["attachment-10"]) == Trust()
    # The neighbour on either side, and three of the youngest.
    assert len(cinder.asked) == 5


@pytest.mark.parametrize("lost", [10, 11, 12], ids=["the oldest", "the middle one", "the youngest"])
def test_three_servers_that_lost_what_was_made_last_have_a_cinder_that_came_back_from_a_backup(lost: int) -> None:
    others = [each for each in (2, 3, 4, 10, 11, 12) if each != lost]
    told = trust([2, 3, 4], others, lost)
    assert told.doubt is None
    (fact,) = told.cinder_is_behind
    assert f"attachment attachment-{lost}, " in fact


def test_a_block_is_seen_too_where_younger_attachments_were_made_after_the_restore() -> None:
    assert trust([2, 3, 4, 13, 14, 15, 16], [2, 3, 4, 9, 11, 13, 14, 15, 16]).cinder_is_behind


def test_two_servers_that_lost_one_each_are_no_block() -> None:
    assert trust([2, 3, 4, 12, 13], [2, 3, 4, 11, 12, 13]) == Trust()


def test_two_attachments_of_one_other_server_are_no_block_of_three_servers() -> None:
    nova = FakeNova((*(link(each) for each in (2, 3, 4)), link(11, server="s"), link(12, server="s"), link(13)))
    cinder = FakeCinder(frozenset({2, 3, 4, 13}))
    told = ControlRead(nova, cinder).trust(before(1, 10), [attachment(1, SERVER)], ["attachment-10"])
    assert told == Trust()


@pytest.mark.parametrize("project", [OWN, OTHER])
def test_no_loss_is_believed_if_the_neighbours_in_its_cell_cannot_be_read(project: str) -> None:
    of_another_cell = tuple(dataclasses.replace(link(each), cell="cell2") for each in (2, 3, 4))
    cinder = FakeCinder(frozenset({1, 2, 3, 4}))
    nova = FakeNova(of_another_cell, unread="Nova's cell1 did not answer in 60 s")
    told = ControlRead(nova, cinder).trust(before(1, 10, project=project), [attachment(1, SERVER)], ["attachment-10"])
    assert str(told.doubt) == "the control read failed: Nova's cell1 did not answer in 60 s"
    # A cell that is silent hides only its own servers.
    nova = FakeNova((*of_another_cell, link(9), link(11)), unread="Nova's cell3 did not answer in 60 s")
    cinder = FakeCinder(frozenset({1, 2, 3, 4, 9, 11}))
    told = ControlRead(nova, cinder).trust(before(1, 10, project=project), [attachment(1, SERVER)], ["attachment-10"])
    assert told == Trust()


def test_one_visible_link_does_not_make_up_for_nineteen_lost_ones() -> None:
    assert trust([11], range(11, 31)).cinder_is_behind


def test_a_cinder_that_shows_nothing_of_the_others_is_doubted_or_behind() -> None:
    told = trust([], range(11, 15))
    assert told.cinder_is_behind or told.doubt


def test_what_pairs_is_proof_enough_where_nothing_is_lost() -> None:
    nova, cinder = FakeNova((link(5),)), FakeCinder(frozenset())
    assert ControlRead(nova, cinder).trust(before(1), [attachment(1, SERVER)]) == Trust()
    assert cinder.asked == []


@pytest.mark.parametrize(("other_projects", "believed"), [(True, True), (False, False)])
def test_a_host_with_one_server_cleans_if_cinder_shows_another_project(other_projects: bool, believed: bool) -> None:
    cinder = FakeCinder(other_projects=other_projects)
    told = ControlRead(FakeNova(), cinder).trust(before(10), [], ["attachment-10"])
    assert (told.doubt is None) is believed


def test_a_host_with_servers_of_the_tokens_project_alone_cleans_by_what_is_seen_of_it() -> None:
    for there in (frozenset({5, 6, 7}), frozenset()):
        nova = FakeNova(tuple(link(each, project=OWN) for each in (5, 6, 7)))
        cinder = FakeCinder(there)
        told = ControlRead(nova, cinder).trust(before(10, project=OWN), [], ["attachment-10"])
        assert (told == Trust()) is bool(there)


class TestANovaThatCameBackFromABackup:
    AGES = tuple(attachment(each, status="attached") for each in range(1, 9))

    def behind(self, known: Collection[int], ages: tuple[Attachment, ...] = AGES, of: int = 5) -> tuple[str, ...]:
        nova = FakeNova(named=frozenset(f"attachment-{each}" for each in known))
        (unmapped,) = (each for each in ages if each.id == f"attachment-{of}")
        return ControlRead(nova, FakeCinder(by_age=ages)).nova_is_behind([unmapped])

    def test_what_stands_among_known_ones_is_one_failed_attach(self) -> None:
        assert self.behind([1, 2, 3, 4, 6, 7, 8]) == ()
        assert self.behind([1, 2, 3, 6, 7, 8]) == ()

    def test_a_block_of_unknown_ones_is_a_loss_of_novas(self) -> None:
        (fact,) = self.behind([1, 2, 3, 8])
        assert "attachment-5" in fact

    def test_reservations_say_nothing(self) -> None:
        ages = tuple(attachment(each, status="reserved" if each in (4, 6) else "attached") for each in range(1, 9))
        assert self.behind([1, 2, 3, 7, 8], ages) == ()

    def test_a_few_neighbours_are_asked_for_unless_they_do_not_show_where_the_block_ends(self) -> None:
        ages = tuple(attachment(each, status="reserved" if each % 12 else "attached") for each in range(60))
        cinder = FakeCinder(by_age=ages)
        nova = FakeNova(named=frozenset({"attachment-48"}))
        (fact,) = ControlRead(nova, cinder).nova_is_behind([ages[30]])
        assert all(f"attachment-{each} of server" in fact for each in (24, 36))
        assert cinder.asked == ["4 neighbours", "20 neighbours"]
        beside = FakeCinder(by_age=self.AGES)
        nova = FakeNova(named=frozenset({"attachment-4", "attachment-7"}))
        assert ControlRead(nova, beside).nova_is_behind([self.AGES[4]]) == ()
        assert beside.asked == ["4 neighbours"]

    def test_what_the_first_neighbours_showed_counts_if_no_more_can_be_read(self) -> None:
        ages = tuple(attachment(each, status="attached") for each in range(30))
        (fact,) = ControlRead(FakeNova(), FakeCinder(by_age=ages, most_neighbours=4)).nova_is_behind([ages[15]])
        assert "attachment-15" in fact

    def test_what_cannot_be_read_keeps_the_attachment(self) -> None:
        ages = tuple(attachment(each, status="reserved" if each % 12 else "attached") for each in range(60))
        nova = FakeNova(named=frozenset({"attachment-24"}))
        for most in (0, 4):
            (unknown,) = ControlRead(nova, FakeCinder(by_age=ages, most_neighbours=most)).nova_is_behind([ages[30]])
            assert unknown.startswith("It is not known whether Nova's database was restored from a backup")

    def test_a_cell_that_falls_silent_meanwhile_keeps_the_attachment(self) -> None:
        class FallsSilent(FakeNova):
            def knows(self, attachments: Collection[Attachment]) -> Reading[str]:
                answer, self.tells = super().knows(attachments), False
                return answer

        (unknown,) = ControlRead(FallsSilent(), FakeCinder(by_age=self.AGES)).nova_is_behind([self.AGES[4]])
        assert unknown.endswith("could not be looked up (only the databases tell)")

    def test_where_only_one_cell_is_seen_nothing_is_concluded(self) -> None:
        nova = FakeNova(tells=False)
        assert ControlRead(nova, FakeCinder(by_age=self.AGES)).nova_is_behind([self.AGES[4]]) == ()


def test_a_cinder_that_has_the_volumes_and_none_of_the_young_attachments_is_behind() -> None:
    nova = FakeNova((link(1), link(2)))
    confined = ControlRead(nova, FakeCinder()).trust()
    assert confined.doubt
    assert not confined.cinder_is_behind
    behind = ControlRead(nova, FakeCinder(other_attachments=True)).trust()
    assert behind.doubt is None
    assert "restored from a backup" in behind.cinder_is_behind[0]
