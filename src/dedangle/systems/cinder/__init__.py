# SPDX-License-Identifier: Apache-2.0
"""Cinder, by its API and, for the bulk read, by its database."""
