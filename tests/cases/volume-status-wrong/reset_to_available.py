# SPDX-License-Identifier: Apache-2.0
"""M-7: an administrator reset the status alone: both sides name the attachment"""

from cases.stage import Planted, Stage

DISPOSITIONS = ("report",)
WAY_OUT = ("openstack volume set --state in-use --attached VOLUME",)


def build(stage: Stage) -> Planted:
    server = stage.server()
    reset = {"os-reset_status": {"status": "available"}}
    stage.cloud.admin.cinder("POST", f"/volumes/{server.volumes[1]}/action", reset, expect=202)
    return Planted((server.id,), frozenset({("volume-status-wrong", server.volumes[1])}))
