# SPDX-License-Identifier: Apache-2.0
"""`dedangle doctor`: check everything that a run depends on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from cliff.lister import Lister

from dedangle.cli import configuration, console, wiring
from dedangle.cli.errors import UnreachableError, UsageError
from dedangle.cli.guarded import Guarded
from dedangle.cli.signals import Signals
from dedangle.core.decisions import Door
from dedangle.core.text import wrapped
from dedangle.report import exit_codes
from dedangle.report.cells import text

if TYPE_CHECKING:
    from dedangle.config import Settings
    from dedangle.doctor.checks import Check
    from dedangle.systems.keystone import Access
    from dedangle.systems.nova.cells import Cell

_COLUMNS = ("check", "state", "sentence", "next_step")
_WIDTH = 80


class Doctor(Guarded, Lister):
    """Check the configuration, databases, credentials, Cinder, compute hosts and state_dir. Changes nothing.

    The state of each check is ok, warning or fail. A check that is not ok shows the next step. The exit code is 5 if a
    check failed.
    """

    checks: tuple[Check, ...] = ()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        console.add_config_options(parser)
        return parser

    def guarded_run(self, args: argparse.Namespace, signals: Signals) -> int:
        from dedangle.doctor.checks import State

        self.checks = tuple(_examine(self.app.config_args, signals))
        if args.formatter == "table" and not args.columns:
            with console.result():
                sys.stdout.write("".join(f"{line}\n" for line in as_list(self.checks)))
        else:
            self.show(args)
        return exit_codes.INCOMPLETE if any(check.state is State.FAIL for check in self.checks) else exit_codes.DONE

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[list[Any]]]:
        rows = [(check.name, check.state.value, check.sentence, check.next_step) for check in self.checks]
        return _COLUMNS, [[text(value, parsed_args.formatter) for value in row] for row in rows]


def as_list(checks: Sequence[Check]) -> Iterator[str]:
    """Yield the lines of the list for a terminal: failed checks first, each with its next step, equal ones together."""
    from dedangle.doctor.checks import State

    titles = {State.FAIL: "Failed", State.WARNING: "Warning, or not checked", State.OK: "OK"}
    for state, title in titles.items():
        alike = [check for check in checks if check.state is state]
        if alike:
            yield f"{title} ({len(alike)})"
        said: dict[tuple[str, str], list[str]] = {}
        for check in alike:
            said.setdefault((check.sentence, check.next_step), []).append(check.name)
        for (sentence, next_step), names in said.items():
            yield from wrapped(f"{', '.join(names)}: {sentence}", _WIDTH, "  ", "    ")
            if next_step:
                yield from wrapped(f"Next: {next_step}", _WIDTH, "    ", "      ")


def _examine(config_args: list[str], signals: Signals) -> Iterator[Check]:
    from dedangle.doctor import checks

    try:
        settings = configuration.configure(config_args)
        configuration.require_api_database()
    except UsageError as error:
        yield checks.Check(
            checks.CONFIGURATION, checks.State.FAIL, str(error), "Give the path of nova.conf with --config-file."
        )
        return
    yield _configuration()
    cells, found = _cells(settings)
    yield from found
    broken = any(check.state is checks.State.FAIL for check in found)
    access, check = _credentials()
    yield check
    yield from _guarded("cinder", lambda: _cinder(settings, cells, access, signals, broken=broken))
    yield from _guarded(checks.HOSTS, lambda: _hosts(settings, cells))
    yield checks.state_dir(settings.state_dir)
    yield checks.lock(settings.state_dir, settings.coordination_url)


def _configuration() -> Check:
    from nova import conf as nova_conf

    from dedangle.doctor.checks import CONFIGURATION, Check, State

    conf = nova_conf.CONF
    files = ", ".join([*(conf.config_file or []), *(conf.config_dir or [])])
    versions = f"dedangle {metadata.version('dedangle')} with Nova {metadata.version('nova')}"
    return Check(CONFIGURATION, State.OK, f"{versions} uses {files}.")


def _cells(settings: Settings) -> tuple[tuple[Cell, ...], list[Check]]:
    """Return every cell of the API database, and the checks of all databases."""
    from dedangle.doctor import checks, databases
    from dedangle.systems.nova import cells as nova_cells

    made = list(databases.databases([nova_cells.api_cell(settings.cell_timeout)]))
    cells = nova_cells.every_cell(settings.cell_timeout) if made[0].state is not checks.State.FAIL else None
    if cells is None:
        return (), [
            *made,
            checks.unknown(f"{checks.DATABASE} of each cell", "the API database, which lists the cells, failed"),
        ]
    if not cells.complete:
        fail = checks.Check(
            f"{checks.DATABASE} of each cell", checks.State.FAIL, f"{cells.why}.", "Run: nova-manage cell_v2 list_cells"
        )
        return (), [*made, fail]
    return cells.rows, [*made, *databases.databases(cells.rows)]


def _credentials() -> tuple[Access | None, Check]:
    from dedangle.doctor.checks import CREDENTIALS, Check, State

    name = CREDENTIALS
    try:
        access = configuration.find_access()
        token = access.client.session.auth.get_access(access.client.session)
    except (UnreachableError, UsageError) as error:
        return None, Check(name, State.FAIL, error.sentence, error.next_step)
    roles = ", ".join(sorted(token.role_names))
    who = f"Keystone accepts user {token.username} of project {token.project_name} with the roles {roles}."
    if token.application_credential_id or token.trust_id or token.oauth_access_token_id:
        # Cinder needs a token of its own to ask Nova, and Keystone refuses to create it from a delegated one.
        sentence = (
            f"{who} The credentials are delegated, so Cinder cannot ask Nova with them and deletes no connected "
            "attachment."
        )
        return access, Check(
            name, State.FAIL, sentence, "Use a user's password instead of an application credential or a trust."
        )
    if "admin" in token.role_names:
        return access, Check(name, State.OK, who)
    return access, Check(
        name,
        State.WARNING,
        f"{who} The user does not have the role admin.",
        "Use an administrator, unless your policies give another role the same rights.",
    )


def _cinder(
    settings: Settings, cells: tuple[Cell, ...], access: Access | None, signals: Signals, *, broken: bool
) -> Iterator[Check]:
    from nova import conf as nova_conf

    from dedangle.doctor import causes, checks, databases
    from dedangle.systems import keystone
    from dedangle.systems.nova.api import NovaApi

    if access is None:
        for name in (
            checks.SERVICE_TOKEN,
            checks.CINDER_MICROVERSION,
            checks.CINDER_FILTERS,
            checks.CLOCK,
            causes.NOVA_CLOCK,
            causes.CINDER_POLICIES,
            causes.CINDER_VOLUME,
            checks.ALL_PROJECTS,
        ):
            yield checks.unknown(name, "it needs the check of the credentials, which failed")
        return
    wired = wiring.assemble(settings, cells, access, signals)
    yield checks.service_token(wired.session.get_auth_headers() or ())
    answers = list(checks.cinder_filters(wired.cinder, wiring.clock(), settings.service_down_time))
    yield from answers
    nova_api = NovaApi(keystone.nova_client(nova_conf.CONF, wired.session))
    yield causes.nova_clock(nova_api, wiring.clock(), settings.service_down_time)
    if any(answer.next_step == checks.TO_CINDER for answer in answers):
        for name in (causes.CINDER_POLICIES, causes.CINDER_VOLUME, checks.ALL_PROJECTS):
            yield checks.unknown(name, "Cinder did not list attachments")
        yield causes.nova_service_token(nova_conf.CONF)
        return
    yield causes.cinder_policies(wired.cinder)
    yield causes.cinder_volume(wired.cinder)
    yield causes.nova_service_token(nova_conf.CONF)
    if broken:
        yield checks.unknown(checks.ALL_PROJECTS, "a database failed that may have the rows for this check")
        return
    yield from checks.sees_all(wired.reconciler(Door.SWEEP), nova_api)
    database = configuration.bulk_of_cinder(settings)
    if database:
        yield databases.cinder_database(database, wired.reconciler(Door.SWEEP), wiring.clock())


def _hosts(settings: Settings, cells: tuple[Cell, ...]) -> Iterator[Check]:
    from dedangle.doctor import checks
    from dedangle.systems.nova.rpc import NovaRpc

    if not cells:
        yield checks.unknown(checks.HOSTS, "the API database, which lists the cells, failed")
        return
    yield checks.hosts(cells, NovaRpc(settings.cell_timeout), wiring.clock(), settings.service_down_time)


def _guarded(name: str, make: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """Yield the checks, and turn an unexpected error into a failed check, so that all other checks are made."""
    from dedangle.doctor.checks import Check, State

    try:
        yield from make()
    except Exception as error:  # noqa: BLE001  # a check that fails in any way is a failed check
        yield Check(name, State.FAIL, f"Unexpected {type(error).__name__}: {' '.join(str(error).split())}.")
