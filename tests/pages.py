"""Whether this system has what the tests of huge pages need."""

import mmap

import pytest

from sfd import huge_pages

needs_huge_pages = pytest.mark.skipif(
    # With larger pages, huge ones are larger than a picture.
    not huge_pages.can_be_asked_for() or mmap.PAGESIZE != 4096,
    reason="this system gives no huge pages on request",
)
