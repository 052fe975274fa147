# SPDX-License-Identifier: Apache-2.0
"""Times, durations, counts and parts of the fleet, as operators write them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from datetime import datetime

from dedangle.core import times
from dedangle.core.sharding import Shard

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Read 90s, 30m or 8h; raises ArgumentTypeError."""
    match = re.fullmatch(r"([0-9]+)([smh])", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}: use 90s, 30m or 8h")
    return float(match[1]) * _UNITS[match[2]]


def count(text: str) -> int:
    """Read a number that is not negative; raise ArgumentTypeError."""
    if not re.fullmatch(r"[0-9]+", text):
        raise argparse.ArgumentTypeError(f"invalid number {text!r}: use 0 or more")
    return int(text)


def shard(text: str, environ: Mapping[str, str]) -> Shard:
    """Read I/N, or `auto` in a pod of a Kubernetes Indexed Job; raises ArgumentTypeError.

    The Job gives each pod JOB_COMPLETION_INDEX, from 0. How many there are no pod is told: the manifest has to repeat
    its `completions` in DEDANGLE_SHARDS.
    """
    if text == "auto":
        try:
            index, count = int(environ["JOB_COMPLETION_INDEX"]) + 1, int(environ["DEDANGLE_SHARDS"])
        except (KeyError, ValueError) as error:
            raise argparse.ArgumentTypeError(
                "auto needs JOB_COMPLETION_INDEX, which an Indexed Job sets, and DEDANGLE_SHARDS, its completions, in "
                "the environment"
            ) from error
    else:
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if not match:
            raise argparse.ArgumentTypeError(f"invalid shard {text!r}: use 1/4 or auto")
        index, count = int(match[1]), int(match[2])
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"there is no shard {index} of {count}; they count from 1")
    return Shard(index, count)


def moment(text: str) -> datetime:
    """Read a date or a time in UTC; raises ArgumentTypeError."""
    try:
        return times.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid time {text!r}: use 2026-11-22 or 2026-11-22T21:30") from error
