# SPDX-License-Identifier: Apache-2.0
"""Compute hosts, asked over Nova's own message bus where their nova-compute runs our endpoint."""

from __future__ import annotations

from typing import Any

from dedangle.core.doors import Policy
from dedangle.core.records import Disk, Finding, Outcome, Reading, Result, Server

NAMESPACE, VERSION = "dedangle", "1.0"
_BASE = "baseapi"
# Nova's own calls need the oldest version that has them, which every release since 27 takes.
_VERSIONS = {NAMESPACE: VERSION, _BASE: "1.0", None: "6.0"}
_REMOTE_POLICY = ("no_host", "allow_root", "available_means_gone")


class NovaRpc:
    """Asks over the transport of the host's cell; timeout is in seconds for each answer."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._asked: dict[tuple[str, str], Reading[Any]] = {}
        self._transports: dict[str, Any] = {}

    def disks(self, server_id: str, host: str) -> Reading[Disk]:
        about = self.about(host)
        if not about.complete:
            return Reading.unread(about.why)
        try:
            answer = self._call(host, "disks", server_id=server_id)
        except Exception as error:
            return Reading.unread(f"host {host} did not answer ({type(error).__name__})")
        return Reading(tuple(Disk(volume_id=each) for each in answer["disks"]), not answer["why"], answer["why"])

    def acts(self, host: str) -> bool:
        return self.about(host).complete

    def about(self, host: str) -> Reading[str]:
        """Which release of dedangle the host runs; unread where it runs none or is silent."""
        answer = self._ask_once(host, NAMESPACE, "about")
        return Reading(tuple(str(each["release"]) for each in answer.rows), answer.complete, answer.why)

    def disconnects(self, host: str) -> bool:
        return not self.acts(host) and self._ask_once(host, _BASE, "ping", arg="dedangle").complete

    def disconnect(self, server_id: str, volume_id: str, host: str) -> str:
        from nova import context, objects

        try:
            with context.target_cell(context.get_admin_context(), _cell_of(host)) as in_cell:
                instance = objects.Instance.get_by_uuid(in_cell, server_id)
            # Nova does as it is told under a running guest too: one that was started meanwhile shall keep its disk.
            if not _server(instance).is_stopped:
                return "the server is not stopped any more"
            # Without delete_attachment, which only Nova 29 and later know and which is not wanted.
            self._call(host, "remove_volume_connection", None, instance=instance, volume_id=volume_id)
        except Exception as error:
            return f"host {host} did not take the connection down ({type(error).__name__})"
        return ""

    def carry_out(self, finding: Finding, host: str, policy: Policy) -> Outcome:
        try:
            answer = self._call(
                host,
                "carry_out",
                server_id=finding.server_id,
                identity=list(finding.identity),
                door=policy.door.value,
                allowed={name: getattr(policy, name) for name in _REMOTE_POLICY},
            )
        except Exception as error:
            detail = f"host {host} did not tell what came of it ({type(error).__name__}); look again"
            return Outcome(result=Result.FAILED, detail=detail)
        return Outcome(result=Result(answer["result"]), detail=answer["detail"])

    def _ask_once(self, host: str, namespace: str, method: str, **arguments: Any) -> Reading[Any]:
        """Ask the host once in a run."""
        if (host, namespace) not in self._asked:
            try:
                answer = Reading((self._call(host, method, namespace, **arguments),))
            except _UnreachableError as error:
                answer = Reading.unread(f"host {host} cannot be asked: {error}")
            except Exception as error:
                # A nova-compute without our endpoint answers UnsupportedVersion, one that is down not at all.
                why = f"host {host} does not run dedangle, or does not answer ({type(error).__name__})"
                answer = Reading.unread(why)
            self._asked[host, namespace] = answer
        return self._asked[host, namespace]

    def _call(self, host: str, method: str, namespace: str | None = NAMESPACE, **arguments: Any) -> Any:
        import oslo_messaging as messaging
        from nova import context, rpc
        from nova.compute import rpcapi
        from nova.objects import base

        transport = self._transports.get(host)
        if transport is None:
            transport = self._transports[host] = _transport(host)
        target = messaging.Target(topic=rpcapi.RPC_TOPIC, namespace=namespace, version=_VERSIONS[namespace])
        serializer = rpc.RequestContextSerializer(base.NovaObjectSerializer())
        client = messaging.get_rpc_client(transport, target, serializer=serializer)
        prepared = client.prepare(server=host, timeout=self._timeout, retry=1)
        return prepared.call(context.get_admin_context(), method, **arguments)


class _UnreachableError(Exception):
    """There is no way to the host; the message says why."""


def _server(instance: Any) -> Server:
    return Server(
        id=instance.uuid,
        cell="",
        project_id=instance.project_id,
        vm_state=instance.vm_state,
        task_state=instance.task_state,
        power_state=instance.power_state,
    )


def _cell_of(host: str) -> Any:
    from nova import context, objects

    return objects.HostMapping.get_by_host(context.get_admin_context(), host).cell_mapping


def _transport(host: str) -> Any:
    import oslo_messaging as messaging
    from nova import conf, rpc

    url = messaging.TransportURL.parse(conf.CONF, _cell_of(host).transport_url)
    if url.transport in ("fake", "none"):
        raise _UnreachableError(f"the transport of its cell is {url.transport}, which ends with the process")
    rpc.set_defaults(control_exchange="nova")
    return messaging.get_rpc_transport(conf.CONF, url=url)
