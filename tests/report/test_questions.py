# SPDX-License-Identifier: Apache-2.0
"""What an operator must decide is shown wherever the finding is explained."""

from __future__ import annotations

import html as markup
from datetime import datetime, timezone

import pytest
from runs import finding, run_of

from dedangle.report import document, html, plan

QUESTION = "Decide whether the host comes back."
ASKED = finding("attachment-of-deleted-server", advice=f"Its host is down. {QUESTION}", next=())


@pytest.mark.parametrize("kind", ["page", "plan", "document"])
def test_a_question_is_shown(kind: str) -> None:
    run = run_of(ASKED)
    at = datetime(2026, 7, 1, tzinfo=timezone.utc)
    shown = {
        "page": lambda: markup.unescape(html.page(run, everything=True, command="dedangle audit", at=at)),
        "plan": lambda: plan.plan(run, [ASKED]),
        "document": lambda: document.document(run, everything=True),
    }
    assert QUESTION in shown[kind]()
