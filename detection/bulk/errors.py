"""What stops a bulk job, and what can be wrong with one of its pictures.

A `RequestError` of one picture becomes its row. A `BulkError` ends the job.
"""

from sfd.errors import SfdError


class BulkError(SfdError):
    """The job can't go on. What is written stays, and the same command continues from there."""
