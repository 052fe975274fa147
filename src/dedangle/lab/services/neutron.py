# SPDX-License-Identifier: Apache-2.0
"""As much of Neutron as Nova needs for servers without a network: empty lists."""

import json
from collections.abc import Iterable
from typing import Any

from dedangle.lab.faults import answer


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    parts = environ["PATH_INFO"].strip("/").split("/")
    status = "200 OK"
    body: dict[str, Any]
    if parts in ([""], ["v2.0"]):
        link = f"http://{environ['HTTP_HOST']}/v2.0/"
        body = {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": link}]}]}
    elif len(parts) == 2:
        body = {parts[1].replace("-", "_"): []}
    else:
        status = "404 Not Found"
        body = {"NeutronError": {"type": "NotFound", "message": "The lab has no networks.", "detail": ""}}
    return answer(start_response, status, "application/json", json.dumps(body).encode())
