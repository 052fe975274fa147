# SPDX-License-Identifier: Apache-2.0
"""What a dangling attachment is: pure judgement, no clock, no I/O."""
