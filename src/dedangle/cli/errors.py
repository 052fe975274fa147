# SPDX-License-Identifier: Apache-2.0
"""The errors that end a verb with one message: invalid input, or a system that does not answer."""

from __future__ import annotations


class UsageError(Exception):
    """Invalid arguments or configuration. The message says what is wrong, where, and what to do next."""


class UnreachableError(Exception):
    """A system that the whole run depends on did not answer."""
