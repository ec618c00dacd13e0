import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from detection.bulk.errors import BulkError
from detection.bulk.listing import Listing, SortedNames


@contextmanager
def small_files() -> Iterator[None]:
    """No file can become larger than 4 KB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_names_are_sorted_by_their_bytes_and_listed_once(tmp_path: Path) -> None:
    given = ["b", "a", "ü", "\udcff", "b", "a/1", "a-1", "b"]
    with SortedNames(given) as names:
        assert (names.count, names.repeated) == (6, 2)
        names.write(tmp_path / "listing", 4)
    with (tmp_path / "listing").open("rb") as file:
        listing = Listing(file)
        # The second shard first: each can be read alone.
        assert listing.names(1) == ["ü", "\udcff"]
        assert listing.names(0) == ["a", "a-1", "a/1", "b"]


def test_a_shard_may_be_larger_than_any_number_of_the_machine(tmp_path: Path) -> None:
    with SortedNames(["a", "b"]) as names:
        names.write(tmp_path / "listing", 10**20)
    with (tmp_path / "listing").open("rb") as file:
        assert Listing(file).names(0) == ["a", "b"]


@pytest.mark.parametrize("kept", [0, 100, 300])
def test_a_listing_that_was_cut_ends_the_job(tmp_path: Path, kept: int) -> None:
    with SortedNames(map(str, range(1000))) as names:
        names.write(tmp_path / "listing", 100)
    content = (tmp_path / "listing").read_bytes()
    (tmp_path / "listing").write_bytes(content[:kept])
    with (
        (tmp_path / "listing").open("rb") as file,
        pytest.raises(
            BulkError, match=r"the listing can.t be read or is broken \(.+\): start again"
        ),
    ):
        Listing(file).names(9)


def test_a_listing_with_other_bytes_inside_ends_the_job(tmp_path: Path) -> None:
    with SortedNames(map(str, range(1000))) as names:
        names.write(tmp_path / "listing", 1000)
    content = (tmp_path / "listing").read_bytes()
    middle = len(content) // 2
    (tmp_path / "listing").write_bytes(
        content[: middle - 200] + bytes(400) + content[middle + 200 :]
    )
    with (
        (tmp_path / "listing").open("rb") as file,
        pytest.raises(BulkError, match=r"the listing can.t be read or is broken"),
    ):
        Listing(file).names(0)


def test_the_fingerprint_depends_on_the_names_and_not_on_their_order() -> None:
    prints = []
    for given in (["a", "bc"], ["bc", "a", "a"], ["ab", "c"], ["a"]):
        with SortedNames(given) as names:
            prints.append(names.fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_no_names_are_a_listing_too() -> None:
    with SortedNames([]) as names:
        assert (names.count, names.repeated) == (0, 0)


def test_a_temporary_folder_without_space_ends_the_job(tmp_path: Path) -> None:
    names = [f"{number:0100}" for number in range(50_000)]
    says = r"can't list the pictures in TMPDIR \(.*\): set TMPDIR to a folder with enough space"
    with small_files(), pytest.raises(BulkError, match=says):
        SortedNames(names)
    with SortedNames(names) as known, small_files(), pytest.raises(BulkError, match=says):
        known.write(tmp_path / "listing", 1000)
