# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with the lab, each named by what to do next."""


class LabError(Exception):
    """The lab cannot go on; the message says what, which and what next."""


class AlreadyUpError(LabError):
    """The lab runs already; use it, or stop it first."""


class ServiceFailedError(LabError):
    """A service of the lab died or did not come up; read its log."""


class UnexpectedAnswerError(LabError):
    """A service answered something else than the caller needs."""


class DeadlineError(LabError):
    """A condition did not come true in time."""
