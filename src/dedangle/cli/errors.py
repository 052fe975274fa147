# SPDX-License-Identifier: Apache-2.0
"""The errors that end a verb with one message: invalid input, or a system that does not answer."""

from __future__ import annotations


class _EndError(Exception):
    """The message says what is wrong, where, and what to do next."""

    def __init__(self, sentence: str, next_step: str = "") -> None:
        super().__init__(f"{sentence} {next_step}".rstrip())
        self.sentence, self.next_step = sentence, next_step


class UsageError(_EndError):
    """Invalid arguments or configuration."""


class UnreachableError(_EndError):
    """A system that the whole run depends on did not answer."""
