# SPDX-License-Identifier: Apache-2.0
"""How Sphinx makes the manual; `make docs` runs it."""

import logging
from importlib import metadata

project = "dedangle"
author = "The dedangle developers"
copyright = author  # noqa: A001 - Sphinx's name
# Without the commit.
release = version = metadata.version("dedangle").partition("+")[0]

extensions = [
    "myst_parser",
    "reno.sphinxext",
]
# One source for the page and for dedangle(1).
man_pages = [("command", "dedangle", "finds dangling volume attachments, and removes them", author, 1)]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
# Most blocks are commands and files, not Python.
highlight_language = "text"
# An option that is copied from the page must still be one.
smartquotes = False

# It names every note that it reads.
logging.getLogger("reno").setLevel(logging.WARNING)

html_theme = "furo"
html_title = f"dedangle {release}"
