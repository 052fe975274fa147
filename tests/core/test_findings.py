# SPDX-License-Identifier: Apache-2.0
"""The table of finding codes: what is promised to operators and scripts."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from dedangle.core.decisions import Door, Remedy, Verdict
from dedangle.core.findings import KINDS, TABLE, Kind, Needs

REMEDIES = {
    "mapping-of-deleted-server": "remove-mapping",
    "mapping-never-attached": "remove-mapping",
    "mapping-never-launched": "remove-mapping",
    "mapping-without-attachment": "remove-mapping",
    "mapping-of-missing-volume": "remove-mapping",
    "attachment-of-deleted-server": "remove-attachment",
    "attachment-never-used": "remove-attachment",
    "attachment-left-by-migration": "remove-attachment",
    "attachment-released-by-nova": "remove-attachment",
    "attachment-unknown-to-nova": "remove-attachment",
    "attachment-failed": "remove-attachment",
    "attachment-shares-host": "none",
    "attachment-unknown-owner": "none",
    "mapping-names-lost-attachment": "relink-mapping",
    "attach-half-made": "remove-attachment",
    "link-mismatch": "none",
    "migration-half-done": "relink-mapping",
    "transition-stuck": "roll-back-detach",
    "mapping-names-reservation": "relink-mapping",
    "volume-status-wrong": "none",
    "mapping-without-connection": "none",
    "volume-in-use-elsewhere": "none",
    "attachment-lost-in-use": "restore-attachment",
    "mapping-duplicated": "remove-mapping",
    "volume-stuck": "reset-status",
    "disk-without-mapping": "none",
    "disk-source-differs": "none",
    "guest-without-server": "none",
    "connection-unused": "none",
    "work-never-ends": "none",
}

IDS = {
    "server": "server-1",
    "volume": "volume-1",
    "attachment": "attachment-1",
    "other": "server-2",
    "beside": "attachment-2",
    "host": "host-1",
    "source": "/dev/sdb",
    "expected": "/dev/sdc",
    "connection": "the mount /mnt",
    "work": "event of attach_volume, since 2026-11-22T21:30:00Z",
    "statuses": "the volume is detaching, and attachment attachment-1 is attached",
}
COMMAND = re.compile(r"(dedangle|openstack|cinder|nova-manage) [a-z_-]+ .*(server-1|volume-1|attachment-1)[^.]*$")

kinds = pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.code)


def test_every_code_of_the_design_is_in_the_table_once() -> None:
    assert dict.fromkeys(REMEDIES, 1) == Counter(kind.code for kind in TABLE)
    assert set(REMEDIES) == set(KINDS)


@kinds
def test_a_code_has_the_remedy_of_the_design(kind: Kind) -> None:
    expected = REMEDIES[kind.code]
    assert expected == kind.remedy


@kinds
def test_a_code_without_a_remedy_is_reported_by_every_door(kind: Kind) -> None:
    if kind.remedy is Remedy.NONE:
        assert {Needs.NEVER} == {kind.needs(door) for door in Door}


@kinds
def test_the_sweep_never_acts_without_the_grace_period(kind: Kind) -> None:
    assert kind.sweep in (Needs.NEVER, Needs.GRACE, Needs.NO_GUEST, Needs.PROOF)


@kinds
def test_only_the_reboot_door_powers_a_guest_off(kind: Kind) -> None:
    assert Needs.GUEST_OFF not in (kind.command, kind.sweep)


@kinds
def test_a_sentence_names_server_and_volume_and_is_one_or_two_sentences(kind: Kind) -> None:
    sentence = kind.sentence.format(**IDS)
    # What concerns a volume or a host alone names no server.
    assert ("server-1" in sentence) is (kind.code not in ("volume-stuck", "connection-unused"))
    # What concerns the whole server or a host names no volume.
    of_volume = kind.code not in ("work-never-ends", "guest-without-server", "connection-unused")
    assert ("volume-1" in sentence) is of_volume
    assert sentence.endswith(".")
    assert "\n" not in sentence


@kinds
def test_an_attachment_s_sentence_names_the_attachment(kind: Kind) -> None:
    if kind.remedy is Remedy.REMOVE_ATTACHMENT or kind.code.startswith("attachment-"):
        assert "attachment-1" in kind.sentence.format(**IDS).lower()


@kinds
def test_an_advice_is_a_sentence_or_ends_with_a_command(kind: Kind) -> None:
    advice = kind.advice.format(**IDS)
    assert "{" not in advice
    assert not advice or advice.endswith(".") or COMMAND.search(advice)


@kinds
def test_a_code_says_which_rows_of_the_decision_table_it_covers(kind: Kind) -> None:
    assert re.fullmatch(r"F|(DN|DC|M)-\d+[a-d]?(, (?:(DN|DC|M)-\d+[a-d]?|[a-d]))*", kind.states)


def test_no_code_is_a_verdict_s_word() -> None:
    assert not set(KINDS) & {each.value for each in Verdict}
