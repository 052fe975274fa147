# SPDX-License-Identifier: Apache-2.0
"""A real Keystone, Placement, Nova and Cinder on one machine, for the demo and the tests."""
