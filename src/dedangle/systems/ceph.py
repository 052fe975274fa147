# SPDX-License-Identifier: Apache-2.0
"""Ceph, asked with the `rbd` command of this machine, which only reads the status of an image."""

from __future__ import annotations

import json
import subprocess

from dedangle.core.records import Reading

# errno.ENOENT, with which `rbd` ends if there is no such image.
_NO_IMAGE = 2


class Ceph:
    """The cluster of a ceph.conf; the environment variable CEPH_ARGS can name the client, as for every Ceph command."""

    def __init__(self, conf: str, timeout: float) -> None:
        self._conf = conf
        self._timeout = timeout

    def watchers(self, image: str) -> Reading[str]:
        """Return the addresses of the clients that have the image (pool/name) open; empty if there is no such image."""
        # The name comes from Nova or Cinder; it cannot become an option behind "--image=".
        command = ["rbd", "status", "--conf", self._conf, "--format", "json", f"--image={image}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=self._timeout, check=False)
            if done.returncode == _NO_IMAGE:
                return Reading()
            if done.returncode:
                return Reading.unread(f"rbd status of image {image} ended with {done.returncode}")
            found = json.loads(done.stdout)["watchers"]
            # A list, but an object with a number for each watcher up to Ceph 12.
            rows = found.values() if isinstance(found, dict) else found
            return Reading(tuple(str(each["address"]) for each in rows))
        except subprocess.TimeoutExpired:
            return Reading.unread(f"Ceph did not answer in {self._timeout:g} s")
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Reading.unread(f"the rbd command cannot be used ({type(error).__name__})")
