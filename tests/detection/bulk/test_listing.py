from pathlib import Path

from detection.bulk.listing import Listing, SortedNames


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
