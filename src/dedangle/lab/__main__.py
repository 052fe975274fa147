# SPDX-License-Identifier: Apache-2.0
"""`python -m dedangle.lab up` and `down`: a lab that stays."""

import argparse
import sys
from pathlib import Path

from dedangle.lab.cloud import Cloud
from dedangle.lab.errors import AlreadyUpError, LabError
from dedangle.lab.topology import TOPOLOGIES

USE = """
Use it:
  export OS_CLIENT_CONFIG_FILE={clouds_yaml}
  {bin}/openstack --os-cloud dedangle-admin server list --all-projects     (also dedangle-p1, dedangle-p2)
  {bin}/dedangle --config-file {nova_conf} audit
Stop it:
  {bin}/python -m dedangle.lab down --home {home}"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dedangle.lab", description=__doc__)
    parser.add_argument("verb", choices=["up", "down"])
    parser.add_argument("--home", type=Path, default=Path(".lab/cloud"), help="where the lab lives (%(default)s)")
    parser.add_argument(
        "--database",
        choices=sorted(TOPOLOGIES),
        default="sqlite",
        help="sqlite: three processes; mariadb: MariaDB, RabbitMQ and a process for every service (%(default)s)",
    )
    arguments = parser.parse_args()
    try:
        if arguments.verb == "down":
            for database in TOPOLOGIES:
                Cloud(arguments.home, database=database).down()
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
    print(
        USE.format(
            bin=Path(sys.executable).parent,
            clouds_yaml=cloud.clouds_yaml,
            nova_conf=cloud.nova_conf,
            home=cloud.home.path,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
