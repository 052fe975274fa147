# SPDX-License-Identifier: Apache-2.0
"""One server through all stages, and a fleet of them."""
