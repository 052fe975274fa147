# SPDX-License-Identifier: Apache-2.0
"""One outside system per file; only that file imports the system's client."""
