# SPDX-License-Identifier: Apache-2.0
"""Nova's REST API, to stop and start servers as their users do."""

from __future__ import annotations

from datetime import datetime

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exceptions

from dedangle.core.records import Reading, Refusal
from dedangle.systems import rest

# os-stop and os-start have not changed since the first microversion.
MICROVERSION = "2.1"
# Signals are delayed during a request, so it must not hang forever.
_TIMEOUT = 60


class NovaApi:
    """Requests through keystoneauth as an administrator; a request is never retried."""

    def __init__(self, client: adapter.Adapter) -> None:
        self._client = client

    def stop(self, server_id: str) -> Refusal | None:
        """Ask Nova to stop the server, which it does later; return why Nova refuses."""
        return self._act(server_id, "os-stop")

    def start(self, server_id: str) -> Refusal | None:
        """Ask Nova to start the server, which it does later; return why Nova refuses."""
        return self._act(server_id, "os-start")

    def why_hidden(self, server_id: str) -> Refusal | None:
        """Return why Nova does not show the server."""
        try:
            answer = self._client.get(f"/servers/{server_id}", raise_exc=False, timeout=_TIMEOUT)
        except ks_exceptions.ClientException as error:
            return Refusal(rest.unanswered("Nova", "", self._client, error))
        if answer.status_code == 200:
            return None
        return Refusal(f"Nova answered {answer.status_code} to server {server_id}: {rest.message(answer)}")

    def time(self) -> Reading[datetime]:
        """Return Nova's own time, to the second; no row if its answers bear no date."""
        try:
            answer = self._client.get("/flavors?limit=1", raise_exc=False, timeout=_TIMEOUT)
        except ks_exceptions.ClientException as error:
            return Reading.unread(rest.unanswered("Nova", "", self._client, error))
        return Reading(tuple(rest.date(answer)))

    def _act(self, server_id: str, action: str) -> Refusal | None:
        try:
            answer = self._client.post(
                f"/servers/{server_id}/action",
                json={action: None},
                raise_exc=False,
                timeout=_TIMEOUT,
                connect_retries=0,
                status_code_retries=0,
            )
        except ks_exceptions.ClientException as error:
            return Refusal(rest.unanswered("Nova", f"to {action}", self._client, error))
        if answer.status_code == 202:
            return None
        return Refusal(f"Nova answered {answer.status_code} to {action}: {rest.message(answer)}")
