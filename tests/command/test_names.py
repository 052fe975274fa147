# SPDX-License-Identifier: Apache-2.0
"""A server is found by its name, or a message says why not."""

import shutil
import uuid

import pytest

from cases.stage import Stage
from dedangle.lab.builders import Server
from dedangle.lab.cloud import Cloud
from shell import Dedangle


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def reserved(stage: Stage) -> Server:
    """A server with an attachment that was never used."""
    server = stage.server(0)
    stage.breaks.reserve_attachment(server.id, stage.user.volume())
    return server


@pytest.fixture
def name(stage: Stage, reserved: Server) -> str:
    name = unique("web")
    stage.edit_server(reserved, display_name=name, hostname=name)
    return name


@pytest.mark.parametrize("verb", [("cleanup",), ("audit", "--server")])
def test_a_server_is_found_by_its_name(dedangle: Dedangle, reserved: Server, name: str, verb: tuple[str, ...]) -> None:
    done = dedangle(*verb, name, "-f", "json")
    assert [("attachment-never-used", reserved.id)] == [(each["code"], each["server_id"]) for each in done.findings]


def test_a_server_that_is_named_twice_is_judged_once(dedangle: Dedangle, reserved: Server, name: str) -> None:
    done = dedangle("cleanup", name, reserved.id, reserved.id.upper(), "-f", "json")
    assert len(done.findings) == 1
    assert "Judging servers 1/1 " in done.err


def test_a_host_name_is_a_name_too(dedangle: Dedangle, stage: Stage, reserved: Server) -> None:
    host = unique("host")
    stage.edit_server(reserved, display_name="something else", hostname=host)
    assert len(dedangle("cleanup", host, "-f", "json").findings) == 1


def test_servers_of_one_name_are_listed_with_what_tells_them_apart(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, reserved: Server, name: str
) -> None:
    other = Stage(cloud, "p2").server(0)
    stage.edit_server(other, display_name=name)
    done = dedangle("cleanup", name)
    assert (done.code, done.out) == (2, "")
    for server, project in ((reserved, "p1"), (other, "p2")):
        (line,) = [each for each in done.err.splitlines() if server.id in each]
        assert f"project {cloud.user(project).project_id}  cell1" in line


def test_names_of_tenants_cannot_act_on_the_terminal(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, reserved: Server, name: str
) -> None:
    other = Stage(cloud).server(0)
    stage.edit_server(other, display_name="\x1b[2J\u202eevil\r\n0 servers", hostname=name)
    done = dedangle("cleanup", name)
    assert done.code == 2
    assert r"\x1b[2J\u202eevil\r\n0 servers" in done.err
    assert not {"\x1b", "\u202e", "\r"} & set(done.err)


def test_a_name_that_looks_like_an_id_is_none(dedangle: Dedangle, stage: Stage, reserved: Server) -> None:
    impostor = str(uuid.uuid4())
    stage.edit_server(reserved, display_name=impostor, hostname=impostor)
    done = dedangle("cleanup", impostor)
    assert done.code == 2
    assert (
        f"There is no server {impostor}: no cell of Nova has this id, and no attachment in Cinder names it" in done.err
    )


@pytest.mark.parametrize("length", [8, *(pytest.param(each, marks=pytest.mark.thorough) for each in (11, 35))])
def test_a_short_id_is_accepted_where_an_id_is(dedangle: Dedangle, reserved: Server, length: int) -> None:
    for arguments in (("cleanup", reserved.id[:length]), ("audit", "--server", reserved.id[:length].upper())):
        done = dedangle(*arguments, "-f", "json")
        assert [each["server_id"] for each in done.findings] == [reserved.id], done.err
    volume = done.findings[0]["volume_id"]
    done = dedangle("audit", "--volume", volume[:length], "-f", "json")
    assert {each["volume_id"] for each in done.findings} == {volume}


def test_short_ids_of_the_table_are_accepted_back(dedangle: Dedangle, stage: Stage) -> None:
    """Those of a deleted server, of one that only Cinder knows, and of a volume that only Cinder has, too."""
    server, stranger = stage.user.server(unique("gone"), 1), str(uuid.uuid4())
    stage.user.delete(server.id)
    free, unmapped = stage.user.volume(), stage.user.volume()
    stage.breaks.reserve_attachment(server.id, free)
    stage.breaks.reserve_attachment(stranger, unmapped)
    for arguments in (("cleanup", server.id), ("audit", "--volume", unmapped, "--all")):
        table = dedangle(*arguments)
        assert table.code == 0, table.err
        shown = [line.split("|") for line in table.out.splitlines() if line.startswith("| a")]
        assert max(map(len, (line for line in table.out.splitlines() if line[:1] in "+|"))) <= 80
        for _, _, short_server, short_volume, *_ in shown:
            for again in (("audit", "--server", short_server.strip()), ("audit", "--volume", short_volume.strip())):
                listed = dedangle(*again, "--all", "-f", "json")
                assert listed.code == 0, listed.err
                assert all(
                    each["server_id"].startswith(short_server.strip())
                    or each["volume_id"].startswith(short_volume.strip())
                    for each in listed.findings
                )
        assert shown


def test_a_short_id_that_is_somebody_s_name_too_is_refused(
    cloud: Cloud, dedangle: Dedangle, stage: Stage, reserved: Server
) -> None:
    other = Stage(cloud, "p2").server(0)
    stage.edit_server(other, display_name=reserved.id[:8])
    done = dedangle("cleanup", reserved.id[:8])
    assert (done.code, done.out) == (2, "")
    ids = ", ".join(sorted((reserved.id, other.id)))
    assert done.err == f"{reserved.id[:8]} stands for 2 servers: {ids}. Use the full id.\n"
    stage.edit_server(other, display_name="other")


def test_a_short_id_that_nothing_has_is_a_slip(dedangle: Dedangle) -> None:
    sentences = {
        ("cleanup", "0bad0bad"): "No cell has a server named 0bad0bad. ",
        ("audit", "--volume", "0bad0bad"): "There is no volume 0bad0bad. ",
    }
    for arguments, sentence in sentences.items():
        done = dedangle(*arguments)
        assert (done.code, done.out) == (2, "")
        assert sentence in done.err


def test_projects_have_names_if_keystone_lists_them(cloud: Cloud, dedangle: Dedangle, reserved: Server) -> None:
    project_id = cloud.user("p1").project_id
    audit = ("audit", "--server", reserved.id, "--project", "p1", "-f", "json")
    assert [(each["project_id"], each["project_name"]) for each in dedangle(*audit).findings] == [(project_id, "p1")]
    assert f"Project:    p1 ({project_id})" in dedangle("cleanup", reserved.id).out
    with cloud.faults.inject("keystone", method="GET", path="/v3/projects", status=403):
        done = dedangle("audit", "--server", reserved.id, "--project", str(project_id), "-f", "json")
    assert done.code == 0, done.err
    assert [(each["project_id"], each["project_name"]) for each in done.findings] == [(project_id, None)]


def test_nobody_has_the_name(dedangle: Dedangle) -> None:
    done = dedangle("cleanup", "nobody")
    assert done.code == 2
    assert "No cell has a server named nobody." in done.err


def test_a_deleted_server_is_not_found_by_name(dedangle: Dedangle, stage: Stage) -> None:
    name = unique("gone")
    server = stage.user.server(name, 0)
    stage.user.delete(server.id)
    assert f"No cell has a server named {name}." in dedangle("cleanup", name).err
    assert dedangle("cleanup", server.id).code == 0


def test_a_silent_cell_may_hold_another_of_the_name(cloud: Cloud, dedangle: Dedangle, name: str) -> None:
    database = cloud.home.database_file("nova_cell0")
    away = database.with_suffix(".away")
    shutil.move(database, away)
    try:
        done = dedangle("cleanup", name)
    finally:
        shutil.move(away, database)
    assert done.code == 5
    assert f"Cannot find the server named {name}: Nova's cell0" in done.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("cleanup",), "dedangle cleanup: the following arguments are required: SERVER or --volume."),
        (("cleanup", "x", "--exexute"), "dedangle cleanup: unrecognized arguments: --exexute."),
        (("sweep", "--shard", "5/4"), "dedangle sweep: argument --shard: invalid shard 5/4: use 1/N to N/N."),
        (("audit", "--config-file"), "dedangle: argument --config-file: expected one argument."),
    ],
)
def test_a_bad_argument_is_one_line(dedangle: Dedangle, arguments: tuple[str, ...], line: str) -> None:
    done = dedangle(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1
    assert "--help" in done.err
