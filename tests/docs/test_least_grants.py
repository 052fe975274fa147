# SPDX-License-Identifier: Apache-2.0
"""The GRANTs of the manual's security page are enough for every verb on a real MariaDB, and hide what they should."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dedangle.lab import rows
from dedangle.lab.breakers import Breaker
from dedangle.lab.builders import Builder
from dedangle.lab.cloud import Cloud
from dedangle.lab.home import CELLS
from shell import Dedangle

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
NOVAS = "nova.compute.manager.ComputeManager"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, mariadb: None) -> Iterator[Cloud]:
    # With Nova's own nova-compute all is written from the command line.
    with Cloud(tmp_path_factory.mktemp("least"), manager=NOVAS, database="mariadb", progress=print) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def user(cloud: Cloud) -> sa.URL:
    """A user that the page's statements have made; cells take whatever user nova.conf names."""
    blocks = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    statements = [each.strip() for block in blocks for each in block.split(";") if each.strip()]
    # What stands there for one cell is meant for each.
    statements += [each.replace("nova_cell1", "nova_cell0") for each in statements if "nova_cell1" in each]
    socket = cloud.home.state / "mariadb" / "mariadb.sock"
    root = sa.create_engine(f"mysql+pymysql://root@localhost/?unix_socket={socket}", poolclass=sa.NullPool)
    with root.begin() as connection:
        for each in statements:
            connection.exec_driver_sql(each.replace("%", "%%"))
    with cloud.home.connect("nova_api") as nova_api:
        for cell, database in CELLS.items():
            template = f"{{scheme}}://{{username}}:{{password}}@{{hostname}}:{{port}}/{database}?{{query}}"
            nova_api.execute(
                sa.text("UPDATE cell_mappings SET database_connection = :url WHERE name = :cell"),
                {"url": template, "cell": cell},
            )
    return sa.make_url(cloud.home.database_url("nova_cell1")).set(username="dedangle", password="PASSWORD")


@pytest.fixture(scope="module")
def dedangle(cloud: Cloud, user: sa.URL, tmp_path_factory: pytest.TempPathFactory) -> Dedangle:
    def url(database: str) -> str:
        return user.set(database=database).render_as_string(hide_password=False)

    with cloud.nova_conf.open("a") as conf:
        conf.write(f"[api_database]\nconnection = {url('nova_api')}\n[database]\nconnection = {url('nova_cell1')}\n")
        conf.write(f"[dedangle]\ncinder_database = {url('cinder')}\n")
    return Dedangle(cloud)


def test_every_verb_does_its_work(cloud: Cloud, dedangle: Dedangle) -> None:
    builder = Builder(cloud)
    breaker = Breaker(builder)
    builder.server("sound", volumes=1)
    deleted, orphan = builder.server("deleted", volumes=1), builder.server("orphan", volumes=1)
    breaker.mapping_of_deleted_server(deleted.id)
    breaker.delete_server_while_cinder_fails(orphan.id)
    stopped, shelved = builder.server("stopped", volumes=1), builder.server("shelved", volumes=1)
    builder.stop(stopped.id)
    builder.shelve_offload(shelved.id)
    for server in (stopped, shelved):
        breaker.lose_attachment(server.id, server.volumes[1])

    doctor = dedangle("doctor")
    assert doctor.code == 0, doctor.out
    sweep = dedangle("sweep", "--execute", "--yes", "-f", "json")
    assert sweep.code == 0, sweep.err
    for server in (stopped, shelved):
        done = dedangle("cleanup", server.id, "--no-host", "--execute", "--yes", "-f", "json")
        assert [each["outcome"] for each in done.findings] == ["removed"], done.out
    (entry,) = [each["entry"] for each in dedangle("journal", "list", "--server", shelved.id, "-f", "json").findings]
    undone = dedangle("undo", entry, "--execute", "--yes")
    assert undone.code == 0, undone.err

    after = rows.snapshot(cloud.home)
    assert [after.mappings_of(each.id) + after.attachments_of(each.id) for each in (deleted, orphan)] == [[], []]
    assert [len(after.mappings_of(each.id)) for each in (stopped, shelved)] == [1, 2]


@pytest.mark.parametrize(
    ("database", "statement"),
    [
        ("cinder", "SELECT connection_info FROM volume_attachment"),
        ("cinder", "SELECT connector FROM volume_attachment"),
        ("cinder", "UPDATE volume_attachment SET deleted = 1"),
        ("nova_cell1", "UPDATE instances SET task_state = NULL"),
        ("nova_cell1", "UPDATE block_device_mapping SET volume_id = NULL"),
        ("nova_cell1", "DELETE FROM block_device_mapping"),
        ("nova_cell1", "INSERT INTO block_device_mapping (deleted) VALUES (0)"),
        ("nova_api", "SELECT * FROM request_specs"),
    ],
)
def test_what_is_not_granted_is_refused(user: sa.URL, database: str, statement: str) -> None:
    engine = sa.create_engine(user.set(database=database), poolclass=sa.NullPool)
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="denied"):
        connection.exec_driver_sql(statement)
