# SPDX-License-Identifier: Apache-2.0
"""Cinder's own API of this release at /volume, and a Keystone that believes everybody at /identity, on one port.

One request is answered after another: on SQLite Cinder fails at once where two transactions read and then write.

python services.py PORT_FILE --config-file cinder.conf
"""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref import simple_server

# Requests are answered one after another; there is nothing to patch for.
os.environ["OS_CINDER_DISABLE_EVENTLET_PATCHING"] = "1"

from cinder.wsgi.wsgi import initialize_application
from keystoneauth1 import fixture

PROJECT = "administrators"
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Handler(simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its base names it so
        """Say nothing: nobody reads it."""


def application(cinder: Application, address: str) -> Application:
    token = fixture.V3Token(project_id=PROJECT, project_name=PROJECT)
    catalog = token.add_service("volumev3", "cinder")
    catalog.add_standard_endpoints(public=f"{address}/volume/v3", region="RegionOne")

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith("/identity/"):
            # Cinder's noauth takes a token for what it says: user and project.
            headers = [("Content-Type", "application/json"), ("X-Subject-Token", f"dedangle:{PROJECT}")]
            start_response("201 Created", headers)
            return [json.dumps(token).encode()]
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/volume", environ["PATH_INFO"].removeprefix("/volume")
        return cinder(environ, start_response)

    return answer


def main() -> None:
    port_file = Path(sys.argv.pop(1))
    cinder = initialize_application()
    with simple_server.make_server("127.0.0.1", 0, lambda *_: [], handler_class=Handler) as server:
        server.set_app(application(cinder, f"http://127.0.0.1:{server.server_port}"))
        ready = port_file.with_suffix(".new")
        ready.write_text(str(server.server_port))
        ready.rename(port_file)
        server.serve_forever()


if __name__ == "__main__":
    main()
