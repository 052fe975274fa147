# SPDX-License-Identifier: Apache-2.0
"""What a run says when it is over."""
