# SPDX-License-Identifier: Apache-2.0
"""The HTML report, as a browser shows it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from chromium import Page
from runs import HOSTILE, finding, hostile, many, run_of, varied

from dedangle.core.run import Run
from dedangle.core.text import harmless

Show = Callable[[Run], Page]

VISIBLE = "Array.from(document.querySelectorAll('details')).filter((each) => each.checkVisibility()).length"


def type_in(page: Page, words: str) -> None:
    page.run(f"search.value = {words!r}; search.dispatchEvent(new Event('input'))")


def choose(page: Page, field: str, value: str) -> None:
    page.run(
        f"(() => {{ const s = document.querySelector('select[data-field={field}]'); s.value = {value!r};"
        " s.dispatchEvent(new Event('change')) })()"
    )


def test_findings_are_grouped_by_what_to_do(shown: Show) -> None:
    page = shown(varied())
    groups = page.run(
        "Object.fromEntries(Array.from(document.querySelectorAll('.group')).map((group) =>"
        " [group.querySelector('h2').textContent, group.querySelectorAll('details').length]))"
    )
    assert groups == {
        "Urgent": 1,
        "Failed or refused": 1,
        "Your decision": 4,
        "Root disks": 1,
        "Can be corrected": 1,
        "Check again later": 1,
        "Done": 1,
    }
    assert next(iter(groups)) == "Urgent"
    text = page.run("document.body.innerText")
    assert "Nova's cell2 did not answer in 60 s" in text
    assert "10 findings; 1234 pairs are consistent" in text
    # Reason, evidence, ids and the command to type.
    card = page.run("document.querySelector('details').innerText")
    one = finding("volume-in-use-elsewhere", 8)
    for part in (one.sentence, one.advice, *one.next, *one.evidence, one.server_id, one.bdm_uuid, "cell2", "compute-8"):
        assert part in card
    for part in ("web-8", "active", "data-8", "9 GiB"):
        assert part in card
    ready = page.run(
        "document.querySelector('[data-code=mapping-of-deleted-server] [data-kind=command]').firstChild.data"
    )
    assert ready == "dedangle audit --report report.html --execute"


def test_bars_show_counts_by_verdict_and_by_cell(shown: Show) -> None:
    page = shown(varied())
    bars = page.run(
        "Array.from(document.querySelectorAll('.charts table')).map((table) => [table.caption.textContent,"
        " Array.from(table.rows).map((row) => [row.cells[0].textContent, row.cells[1].textContent,"
        " row.querySelector('rect').getBoundingClientRect().width])])"
    )
    assert [(title, [tuple(row[:2]) for row in rows]) for title, rows in bars] == [
        ("By verdict", [("dangling", "7"), ("protected", "1"), ("foreign", "1"), ("mismatch", "1")]),
        ("By cell", [("cell1", "4"), ("cell2", "3"), ("cell0", "2"), ("no cell", "1")]),
    ]
    widths = [row[2] for row in bars[0][1]]
    assert widths[0] == pytest.approx(7 * widths[1], rel=0.05)


def test_filters_work_together_and_are_cleared(shown: Show) -> None:
    page = shown(varied())
    assert page.run(VISIBLE) == 10
    choose(page, "code", "=mapping-without-attachment")
    assert (page.run(VISIBLE), page.run("shown.textContent")) == (3, "3 of 10 shown")
    choose(page, "group", "=Your decision")
    assert page.run(VISIBLE) == 2
    type_in(page, "COMPUTE-3 cell0")
    assert page.run(VISIBLE) == 1
    # What is empty is not shown.
    assert page.run("document.querySelectorAll('.group:not([hidden])').length") == 1
    page.run("document.getElementById('clear').click()")
    assert page.run(VISIBLE) == 10
    choose(page, "cell", "=")
    assert page.run(VISIBLE) == 1


def test_it_is_used_by_keyboard(shown: Show) -> None:
    page = shown(many(21))
    page.press("/", "/")
    assert page.run("[document.activeElement.id, search.value]") == ["search", ""]
    page.run("document.querySelector('summary').focus()")
    page.press("Enter", "\r")
    page.run(
        "new Promise((done) => { const look = () => document.querySelector('details[open] button')"
        " || performance.now() > 20000 ? done() : requestAnimationFrame(look); look() })"
    )
    assert page.run("document.querySelector('details').open") is True
    page.press("Tab")
    label = page.run("document.activeElement.getAttribute('aria-label')")
    assert re.fullmatch(r"Copy command [a-z -]+ [0-9a-f-]{36}.*", label)
    # Nothing in a closed finding is in the way.
    page.run("document.querySelectorAll('summary')[1].focus()")
    page.press("Tab")
    assert page.run("document.activeElement === document.querySelectorAll('summary')[2]") in (True, False)
    assert (
        page.run("document.activeElement.closest('details:not([open])')?.querySelectorAll('button').length ?? 0") == 0
    )


def test_ids_and_commands_are_copied(shown: Show) -> None:
    page = shown(run_of(finding("mapping-without-attachment", 1), finding("mapping-without-attachment", 2)))
    page.run(
        "window.copied = []; navigator.clipboard.writeText = (text) => { copied.push(text); return Promise.resolve() }"
    )
    page.run("document.querySelector('button[aria-label^=\"Copy volume\"]').click()")
    page.run("document.querySelector('[data-bulk=server]').click()")
    page.run("document.querySelector('[data-bulk=command]').click()")
    first, second = (finding("mapping-without-attachment", number) for number in (1, 2))
    assert page.run("copied") == [
        first.volume_id,
        f"{first.server_id}\n{second.server_id}",
        "\n".join(command for each in (first, second) for command in each.next),
    ]


def test_on_paper_everything_is_open(shown: Show) -> None:
    page = shown(many(21))
    closed = "document.querySelectorAll('details:not([open])').length"
    page.run(f"addEventListener('beforeprint', () => {{ window.printed = {closed} }})")
    assert page.run(closed) == 21
    page.ask("Page.printToPDF")
    assert page.run("printed") == 0
    # Afterwards it is as it was.
    assert page.run(closed) == 21
    page.ask("Emulation.setEmulatedMedia", media="print")
    assert page.run("getComputedStyle(document.querySelector('details')).contentVisibility") == "visible"
    assert page.run("document.getElementById('filters').checkVisibility()") is False
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_dark_mode_has_light_letters(shown: Show) -> None:
    page = shown(varied())

    def lightness(what: str) -> int:
        color = page.run(f"getComputedStyle(document.body).{what}")
        return sum(map(int, re.findall(r"\d+", color)))

    assert lightness("color") < lightness("backgroundColor")
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert lightness("color") > lightness("backgroundColor")


def test_ten_thousand_findings_are_shown_and_filtered(shown: Show) -> None:
    page = shown(many(10_000))
    assert page.run("document.querySelectorAll('details').length") == 10_000
    type_in(page, "compute-7 cell1")
    assert page.run("shown.textContent") == "84 of 10000 shown"


def test_nothing_that_tenants_write_does_anything(shown: Show) -> None:
    page = shown(hostile())
    assert page.run("typeof pwned") == "undefined"
    assert page.run("document.querySelectorAll('img, main script, main svg:not([aria-hidden])').length") == 0
    text = page.run("document.body.innerText")
    for each in HOSTILE:
        assert harmless(each) in text
    assert "\u202e" not in page.run("document.documentElement.outerHTML")
    type_in(page, "<img src=x onerror=pwned=1>")
    assert page.run(VISIBLE) >= 1
    assert page.run("typeof pwned") == "undefined"


def test_even_a_hole_in_the_page_would_let_nothing_in(shown: Show, tab: Page) -> None:
    page = shown(varied())
    page.run(
        "main = document.querySelector('main'), main.insertAdjacentHTML('beforeend',"
        ' \'<img src=x onerror="pwned=1"><a id=a href="javascript:pwned=1">x</a>\'),'
        " document.getElementById('a').click(), new Promise((done) => setTimeout(done, 0))"
    )
    assert page.run("typeof pwned") == "undefined"
    refused = [each["entry"]["text"] for each in tab.happened("Log.entryAdded")]
    assert len(refused) == 3
    assert all("violates the following Content Security Policy directive" in each for each in refused)
    assert [each["blockedReason"] for each in tab.happened("Network.loadingFailed")] == ["csp"]
    # The fixture looks for what should not happen by itself.
    tab.events[:] = [each for each in tab.events if each.get("method") == "Page.loadEventFired"]
    page.open(Path(page.run("decodeURI(location.pathname)")))


def test_nothing_found_is_said(shown: Show) -> None:
    page = shown(run_of(paired=3))
    assert "No dangling volume attachments found." in page.run("document.body.innerText")
    page = shown(run_of(not_checked=["every server: Cinder did not answer"]))
    text = page.run("document.body.innerText")
    assert "There are no findings, but the run is not complete." in text
    assert "No dangling volume attachments found" not in text
