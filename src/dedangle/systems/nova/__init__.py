# SPDX-License-Identifier: Apache-2.0
"""Nova, by its databases, its API, its message bus and its own objects."""
