"""Whether this system has what the tests of huge pages need."""

import mmap
import platform

import pytest

from sfd import huge_pages


def _can_ask() -> bool:
    """Whether glibc can ask this system for huge pages, and gets none without asking."""
    library, version = platform.libc_ver()
    return (
        huge_pages.are_given_on_request()
        # With larger pages, huge ones are larger than a picture.
        and mmap.PAGESIZE == 4096
        and library == "glibc"
        and tuple(map(int, version.split("."))) >= (2, 35)
    )


needs_huge_pages = pytest.mark.skipif(
    not _can_ask(), reason="this system gives no huge pages on request"
)
