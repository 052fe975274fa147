# SPDX-License-Identifier: Apache-2.0
"""What dedangle remembers between runs."""
