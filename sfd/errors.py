"""The one root of every failure that this project explains to its user."""


class SfdError(Exception):
    """A failure whose message says, in one line, what went wrong and what to do about it."""

    exit_code = 1


class UsageError(SfdError):
    """The command line itself was wrong."""

    exit_code = 2
