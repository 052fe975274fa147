# SPDX-License-Identifier: Apache-2.0
"""The databases of this release of Nova and Cinder as their own commands make them, and Cinder's API over its own."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ("nova_api", "nova_cell0", "nova", "cinder")
DEADLINE = 60.0


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


class Deployment:
    """Configuration, databases and one process in `path`; `urls` says where the databases of NAMES are."""

    def __init__(self, path: Path, urls: dict[str, str]) -> None:
        self.path = path
        self.urls = urls
        self._services: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        self._write("cinder", self._cinder())
        self._write("nova", self._nova(port=0))
        nova = self.urls["nova"]
        self._manage("nova", "api_db", "sync")
        self._manage("nova", "cell_v2", "map_cell0", "--database_connection", self.urls["nova_cell0"])
        self._manage("nova", "db", "sync")
        cell = ("--name", "cell1", "--database_connection", nova, "--transport-url", "fake:///")
        self._manage("nova", "cell_v2", "create_cell", *cell)
        self._manage("cinder", "db", "sync")
        port_file, log = self.path / "port", self.path / "services.log"
        command = [sys.executable, HERE / "services.py", port_file, "--config-file", self.path / "cinder.conf"]
        with log.open("w") as output:
            self._services = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + DEADLINE
        while not port_file.exists():
            assert self._services.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, f"Cinder's API is not up after {DEADLINE:g} s"
            time.sleep(0.05)
        self._write("nova", self._nova(port=int(port_file.read_text())))

    def down(self) -> None:
        if self._services is not None:
            self._services.kill()
            self._services.wait()

    def dedangle(self, *arguments: str, **environment: str) -> Done:
        """Run the console script as an operator would, but with SQLAlchemy's warnings as errors."""
        command = [
            sys.executable,
            "-W",
            "ignore",
            HERE / "strictly.py",
            "--config-file",
            self.path / "nova.conf",
            *arguments,
        ]
        return _run(command, environment)

    def _manage(self, service: str, *arguments: str) -> None:
        program = Path(sys.executable).with_name(f"{service}-manage")
        done = _run([program, "--config-file", self.path / f"{service}.conf", *arguments], {})
        assert done.code == 0, f"{service}-manage {' '.join(arguments)}: {done.out}{done.err}"[-2000:]

    def _write(self, service: str, sections: dict[str, dict[str, Any]]) -> None:
        text = "\n".join(
            f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
            for name, options in sections.items()
        )
        (self.path / f"{service}.conf").write_text(text)

    def _common(self, service: str) -> dict[str, Any]:
        return {"log_file": self.path / f"{service}.log", "state_path": self.path, "transport_url": "fake:///"}

    def _cinder(self) -> dict[str, dict[str, Any]]:
        installed = Path(sys.prefix) / "etc" / "cinder"
        return {
            "DEFAULT": {
                **self._common("cinder"),
                "auth_strategy": "noauth",
                "api_paste_config": installed / "api-paste.ini",
                "resource_query_filters_file": installed / "resource_filters.json",
            },
            "database": {"connection": self.urls["cinder"]},
            "coordination": {"backend_url": f"file://{self.path / 'coordination'}"},
            "oslo_concurrency": {"lock_path": self.path / "lock"},
        }

    def _nova(self, port: int) -> dict[str, dict[str, Any]]:
        return {
            # The hosts' last sign of life stays as it was planted.
            "DEFAULT": {**self._common("nova"), "service_down_time": 86400},
            "api_database": {"connection": self.urls["nova_api"]},
            "database": {"connection": self.urls["nova"]},
            "cinder": {"catalog_info": "volumev3::public"},
            "dedangle": {
                "auth_type": "v3password",
                "auth_url": f"http://127.0.0.1:{port}/identity/v3",
                "username": "dedangle",
                "password": "secret",
                "user_domain_id": "default",
                "project_name": "administrators",
                "project_domain_id": "default",
                "grace_period": 0,
                "state_dir": self.path / "dedangle",
            },
        }


def _run(command: list[Any], environment: dict[str, str]) -> Done:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**inherited, **environment})
    return Done(done.returncode, done.stdout, done.stderr)
