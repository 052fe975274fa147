# SPDX-License-Identifier: Apache-2.0
"""dedangle finds dangling volume attachments and removes them without unplugging a disk that somebody uses."""
