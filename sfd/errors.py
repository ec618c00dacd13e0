"""The base class of all errors that this project explains to its user."""


class SfdError(Exception):
    """A failure. Its message says in one line what went wrong and what to do."""

    exit_code = 1


class UsageError(SfdError):
    """The command line is wrong."""

    exit_code = 2
