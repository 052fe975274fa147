# SPDX-License-Identifier: Apache-2.0
"""The errors of the lab."""


class LabError(Exception):
    """The lab cannot continue; the message says why and what to do next."""


class AlreadyUpError(LabError):
    """The lab runs already; use it, or stop it first."""


class ServiceFailedError(LabError):
    """A service of the lab died or did not come up; read its log."""


class UnexpectedAnswerError(LabError):
    """A service gave an answer that the caller did not expect."""


class DeadlineError(LabError):
    """A condition did not come true in time."""
