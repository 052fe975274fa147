# SPDX-License-Identifier: Apache-2.0
"""The reboot door: dedangle inside nova-compute."""
