# SPDX-License-Identifier: Apache-2.0
"""A private MariaDB, or RabbitMQ and the name server that Erlang wants beside it."""

import getpass
import os
import socket
import subprocess
from collections.abc import Callable

from dedangle.lab.home import ADDRESS, DATABASES, Home
from dedangle.lab.packages import RABBITMQ_SERVER
from dedangle.lab.services.program import Program, run


def mariadb(home: Home) -> list[str]:
    data, first = home.state / "mariadb", home.state / "first.sql"
    # Said with --user, root may run it; the account of the package could not read a lab in root's home.
    common = ["--no-defaults", f"--datadir={data}", f"--user={getpass.getuser()}"]
    if not data.exists():
        subprocess.run(["mariadb-install-db", *common, "--auth-root-authentication-method=normal"], check=True)
    databases = [f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4;" for name in DATABASES]
    first.write_text(
        "\n".join([*databases, "CREATE OR REPLACE USER lab IDENTIFIED BY 'lab';", "GRANT ALL ON *.* TO lab;", ""])
    )
    return [
        "mariadbd",
        *common,
        # Below the data: a whole path may be longer than a socket's name can be.
        "--socket=mariadb.sock",
        f"--port={home.ports['mariadb']}",
        f"--bind-address={ADDRESS}",
        f"--init-file={first}",
        "--innodb-buffer-pool-size=64M",
        "--innodb-flush-log-at-trx-commit=0",
        # Keystone 29 does not bear its new default in MariaDB 11.6: the second of two logins at once fails (1020).
        "--loose-innodb-snapshot-isolation=OFF",
        "--skip-log-bin",
        "--skip-name-resolve",
        "--performance-schema=OFF",
        "--max-connections=400",
    ]


def epmd(home: Home) -> list[str]:
    # In the foreground, because the epmd that RabbitMQ would start never stops.
    return ["epmd", "-address", ADDRESS, "-port", str(home.ports["epmd"])]


def rabbitmq(home: Home) -> list[str]:
    state = home.state / "rabbitmq"
    state.mkdir(exist_ok=True)
    conf = state / "rabbitmq.conf"
    conf.write_text(f"listeners.tcp.1 = {ADDRESS}:{home.ports['rabbitmq']}\n")
    os.environ.update(
        HOME=str(state),
        RABBITMQ_NODENAME="lab@localhost",
        RABBITMQ_CONFIG_FILE=str(conf),
        RABBITMQ_CONF_ENV_FILE=str(state / "none"),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(state / "plugins"),
        RABBITMQ_MNESIA_BASE=str(state),
        RABBITMQ_LOG_BASE=str(home.logs),
        RABBITMQ_DIST_PORT=str(home.ports["rabbitmq-dist"]),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 1:1",
        ERL_EPMD_PORT=str(home.ports["epmd"]),
        ERL_EPMD_ADDRESS=ADDRESS,
    )
    return [str(RABBITMQ_SERVER)]


COMMANDS: dict[str, Callable[[Home], list[str]]] = {"mariadb": mariadb, "epmd": epmd, "rabbitmq": rabbitmq}


def main() -> None:
    program = Program()
    child = subprocess.Popen(COMMANDS[program.name](program.home))
    program.attend(child, lambda: _answers(program.home.ports[program.name]))


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0


if __name__ == "__main__":
    run(main)
