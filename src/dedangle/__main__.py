# SPDX-License-Identifier: Apache-2.0
"""`python -m dedangle`: the console script by another way."""

import sys

from dedangle.cli.main import main

sys.exit(main())
