# SPDX-License-Identifier: Apache-2.0
"""The console script, in which what SQLAlchemy warns dedangle of is an error; python -W ignore strictly.py ARGUMENTS.

What it warns Nova and oslo.db of is theirs: those before 2024.2 are not written for SQLAlchemy 2.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

# 1.4 says only then what 2.0 will not do any more.
os.environ["SQLALCHEMY_WARN_20"] = "1"

import sqlalchemy as sa
from sqlalchemy import exc

import dedangle
from dedangle.cli.main import main

OURS, THEIRS = (str(Path(each.__file__ or "").parent) for each in (dedangle, sa))


def show(message: Warning, *_: Any, **__: Any) -> None:
    """In the place of warnings.showwarning, which runs inside of what warns."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((THEIRS, warnings.__file__)):
        frame = frame.f_back
    if frame.f_code.co_filename.startswith(OURS):
        raise message


warnings.showwarning = show
for category in (exc.SAWarning, exc.SADeprecationWarning):
    warnings.simplefilter("always", category)

code = main()
try:
    exec(compile("warnings.warn('', exc.SADeprecationWarning)", f"{OURS}/planted.py", "exec"))
except exc.SADeprecationWarning:
    sys.exit(code)
sys.exit("Something has made the warnings harmless meanwhile")
