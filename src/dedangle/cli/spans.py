# SPDX-License-Identifier: Apache-2.0
"""Parse times, durations, counts and shards of the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from datetime import datetime

from dedangle.core import times
from dedangle.core.sharding import Shard

_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Return the seconds of 90s, 30m or 8h; raise ArgumentTypeError for other text."""
    match = re.fullmatch(r"([0-9]+)([smh])", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}: use 90s, 30m or 8h")
    return float(match[1]) * _UNITS[match[2]]


def count(text: str) -> int:
    """Return a number that is not negative; raise ArgumentTypeError for other text."""
    if not re.fullmatch(r"[0-9]+", text):
        raise argparse.ArgumentTypeError(f"invalid number {text!r}: use 0 or more")
    return int(text)


def shard(text: str, environ: Mapping[str, str]) -> Shard:
    """Return the shard of I/N, or of `auto` in a pod of a Kubernetes Indexed Job; raise ArgumentTypeError.

    Kubernetes sets JOB_COMPLETION_INDEX in each pod, starting at 0, but not the number of pods. So the manifest must
    repeat its `completions` in DEDANGLE_SHARDS.
    """
    if text == "auto":
        try:
            index, count = int(environ["JOB_COMPLETION_INDEX"]) + 1, int(environ["DEDANGLE_SHARDS"])
        except (KeyError, ValueError) as error:
            raise argparse.ArgumentTypeError(
                "auto needs two environment variables: JOB_COMPLETION_INDEX, which an Indexed Job sets, and "
                "DEDANGLE_SHARDS, the number of completions of the Job"
            ) from error
    else:
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if not match:
            raise argparse.ArgumentTypeError(f"invalid shard {text!r}: use 1/4 or auto")
        index, count = int(match[1]), int(match[2])
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"invalid shard {index}/{count}: use 1/N to N/N")
    return Shard(index, count)


def moment(text: str) -> datetime:
    """Return the moment of a date or a time in UTC; raise ArgumentTypeError for other text."""
    try:
        return times.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid time {text!r}: use 2026-11-22 or 2026-11-22T21:30") from error
