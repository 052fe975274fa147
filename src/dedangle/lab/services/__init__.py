# SPDX-License-Identifier: Apache-2.0
"""The programs that the lab runs, one module for each process."""
