# SPDX-License-Identifier: Apache-2.0
"""`python -m dedangle.lab up`, `break` and `down`: a lab that stays."""

import argparse
import sys
from pathlib import Path

from dedangle.lab.cloud import Cloud
from dedangle.lab.demo import Demo
from dedangle.lab.errors import AlreadyUpError, LabError
from dedangle.lab.topology import TOPOLOGIES

NEXT = """
Use it, in this shell:
  . {use}
  openstack server list --all-projects
  dedangle audit
Plant dangling attachments in it:
  make lab-break
Stop it:
  make lab-down"""

USE = """\
# Read this file into a shell: . {use}
export OS_CLIENT_CONFIG_FILE='{clouds_yaml}' OS_CLOUD=dedangle-admin PATH='{bin}':"$PATH"
dedangle() {{ command dedangle --config-file '{nova_conf}' "$@"; }}
# The hosts of the lab have no SSH server; the only command that dedangle sends there asks for the connector.
ssh() {{
  case $1 in
    lab-compute-*) echo '{{"host": "'"$1"'", "ip": "127.0.0.1", "initiator": "iqn.lab"}}' ;;
    *) command ssh "$@" ;;
  esac
}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dedangle.lab", description=__doc__)
    parser.add_argument("verb", choices=["up", "break", "down"])
    parser.add_argument("--home", type=Path, default=Path(".lab/cloud"), help="where the lab lives (%(default)s)")
    parser.add_argument(
        "--database",
        choices=sorted(TOPOLOGIES),
        default="sqlite",
        help="sqlite: three processes; mariadb: MariaDB, RabbitMQ and a process for every service; galera: the same on "
        "three Galera nodes behind HAProxy, which sends everything to one of them; galera-all: to each in turn "
        "(%(default)s)",
    )
    arguments = parser.parse_args()
    try:
        if arguments.verb == "down":
            for database in TOPOLOGIES:
                Cloud(arguments.home, database=database).down()
        elif arguments.verb == "break":
            plant(Cloud(arguments.home, database=arguments.database))
        else:
            up(Cloud(arguments.home, database=arguments.database, keep=True, progress=print))
    except LabError as error:
        print(f"dedangle.lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def up(cloud: Cloud) -> None:
    try:
        cloud.up()
    except AlreadyUpError as already:
        print(already)
    print(NEXT.format(use=write_use(cloud)))


def write_use(cloud: Cloud) -> Path:
    """Write the file that makes a shell use the lab, and return its path."""
    use = cloud.home.path / "use"
    use.write_text(
        USE.format(use=use, bin=Path(sys.executable).parent, clouds_yaml=cloud.clouds_yaml, nova_conf=cloud.nova_conf)
    )
    return use


def plant(cloud: Cloud) -> None:
    """Make healthy servers, then the dangling attachments of the demo."""
    if not cloud.is_up():
        raise LabError("The lab is not up. Run: make lab")
    demo = Demo(cloud)
    demo.make_healthy()
    demo.break_cloud()
    print("Find them: dedangle audit")


if __name__ == "__main__":
    sys.exit(main())
