"""The base class of every error that this project explains to its user."""


class SfdError(Exception):
    """An error whose one-line message says what went wrong and what to do."""

    exit_code = 1


class UsageError(SfdError):
    """The command line is wrong."""

    exit_code = 2
