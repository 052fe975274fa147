# SPDX-License-Identifier: Apache-2.0
"""What ends a verb with one line and exit code 2 or 1."""

from __future__ import annotations


class UsageError(Exception):
    """Invalid arguments or configuration. The message says what is wrong, where, and what to do next."""


class UnreachableError(Exception):
    """A system that the whole run depends on did not answer."""
