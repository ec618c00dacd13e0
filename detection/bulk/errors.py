"""What stops a bulk job, and what can be wrong with one of its pictures.

A `RequestError` of one picture becomes its row. A `BulkError` ends the job.
"""

from detection.errors import RequestError
from sfd.errors import SfdError


class BulkError(SfdError):
    """The job can't go on. What is written stays, and the same command continues from there."""


class FileTooLarge(RequestError):
    """The file has more bytes than the limit."""

    status = 413
    slug = "file-too-large"
    title = "File too large"
