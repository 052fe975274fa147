# SPDX-License-Identifier: Apache-2.0
"""Calls that do not depend on one another, in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def answers(questions: Sequence[Callable[[], T]], at_once: int) -> list[T]:
    """Call the questions in at most `at_once` threads and return the answers in their order; raise what one raised.

    These are plain threads. eventlet replaces them with its own if nova-compute uses it.
    """
    if min(at_once, len(questions)) < 2:
        return [question() for question in questions]
    found: dict[int, T] = {}
    raised: list[Exception] = []
    waiting = list(enumerate(questions))[::-1]

    def work() -> None:
        while waiting and not raised:
            try:
                # list.pop is atomic, so no two threads take the same question.
                number, question = waiting.pop()
            except IndexError:
                return
            try:
                found[number] = question()
            except Exception as error:  # noqa: BLE001  # raised again in the calling thread
                raised.append(error)

    threads = [
        threading.Thread(target=work, name="dedangle question", daemon=True)
        for _ in range(min(at_once, len(questions)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]
    return [found[number] for number in range(len(questions))]
