# SPDX-License-Identifier: Apache-2.0
"""Pages written from runs as they could have been, opened in a headless Chromium."""

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from chromium import CHROMIUM, Page, browser

from dedangle.core.run import Run
from dedangle.lab import packages
from dedangle.lab.errors import LabError
from dedangle.report import html

AT = datetime(2026, 11, 22, 23, 0, tzinfo=timezone.utc)


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    try:
        packages.ensure_installed(CHROMIUM)
    except LabError as missing:
        pytest.skip(str(missing))
    with browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def shown(tab: Page, tmp_path: Path) -> Iterator[Callable[[Run], Page]]:
    """Opens the report of a run; whatever the test does, the page asked nobody for anything."""

    def show(run: Run) -> Page:
        path = tmp_path / "report.html"
        text = html.page(run, everything=True, command="dedangle audit --report report.html", at=AT)
        path.write_text(text, encoding="utf-8")
        tab.open(path)
        return tab

    yield show
    asked = [each["request"]["url"] for each in tab.happened("Network.requestWillBeSent")]
    assert asked == [(tmp_path / "report.html").as_uri()]
    # A script or style that the policy forbids, or an error of the page.
    assert tab.happened("Log.entryAdded") == []
    assert tab.happened("Runtime.exceptionThrown") == []
    assert tab.happened("Page.javascriptDialogOpening") == []
    tab.ask("Emulation.setEmulatedMedia", media="", features=[])
