# SPDX-License-Identifier: Apache-2.0
"""The doctor's list shows the failed checks first."""

from __future__ import annotations

from dedangle.cli.doctor import as_list
from dedangle.doctor.checks import Check, State, unknown

LONG = "word " * 60


def test_checks_are_grouped_by_outcome_and_each_has_its_next_step() -> None:
    checks = [
        Check("configuration", State.OK, "It was read."),
        unknown("clock", "Cinder did not list attachments"),
        Check("credentials", State.FAIL, "Keystone refuses them.", "openstack token issue"),
        Check("lock", State.OK, "It is free."),
    ]
    assert list(as_list(checks)) == [
        "Failed (1)",
        "  credentials: Keystone refuses them.",
        "    Next: openstack token issue",
        "Warning, or not checked (1)",
        "  clock: Not checked: Cinder did not list attachments.",
        "    Next: Fix the cause, then run again: dedangle doctor",
        "OK (2)",
        "  configuration: It was read.",
        "  lock: It is free.",
    ]


def test_checks_that_another_failure_prevented_are_one_item() -> None:
    lines = list(as_list([unknown(name, "Cinder did not list attachments") for name in ("clock", "cinder-volume")]))
    assert lines == [
        "Warning, or not checked (2)",
        "  clock, cinder-volume: Not checked: Cinder did not list attachments.",
        "    Next: Fix the cause, then run again: dedangle doctor",
    ]


def test_it_fits_80_columns_and_breaks_no_path() -> None:
    path = "/var/lib/" + "a-" * 50
    lines = list(as_list([Check("state_dir", State.FAIL, f"{LONG}{path} {LONG}", LONG)]))
    assert [line.strip() for line in lines if len(line) > 80] == [path]
    assert "".join(lines).count("word") == 180


def test_what_a_server_answers_does_not_act_on_a_terminal() -> None:
    lines = list(as_list([Check("cinder", State.FAIL, "Cinder answered 500: \x1b[2J\r\nOK (9)")]))
    assert all(line.isprintable() for line in lines)
    assert lines == ["Failed (1)", r"  cinder: Cinder answered 500: \x1b[2J\r\nOK (9)"]
