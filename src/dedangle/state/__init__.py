# SPDX-License-Identifier: Apache-2.0
"""Files that dedangle keeps between runs."""
