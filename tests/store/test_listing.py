"""The listing of the models of a store and of a catalog."""

from dataclasses import replace
from pathlib import Path

import pytest

from sfd.files import sha256
from store.catalog import Catalog, Download, Entry
from store.listing import Listed, card, data, examine, listing, table
from store.model import Description, Model, SecondLook


@pytest.fixture
def catalog(description: Description) -> Catalog:
    """Offers `tiny` and `another`."""
    sources = {
        role: Download(
            file=source.file, sha256=source.sha256, url=f"https://example.com/{role}", size=1000
        )
        for role, source in description.sources.items()
    }
    fields = {name: getattr(description, name) for name in Description.__dataclass_fields__}
    return {
        name: Entry(**{**fields, "name": name, "sources": sources}) for name in ("tiny", "another")
    }


def states(rows: tuple[Listed, ...]) -> list[tuple[str, str]]:
    return [(row.name, row.state) for row in rows]


def test_without_models_what_can_be_pulled_is_listed_by_name(catalog: Catalog) -> None:
    assert states(listing([], catalog)) == [("another", "available"), ("tiny", "available")]


def test_an_installed_model_is_not_offered_again(built: Model, catalog: Catalog) -> None:
    assert states(listing([built.folder], catalog)) == [("tiny", "ready"), ("another", "available")]


def test_a_model_is_unusable_until_it_is_built(unbuilt: Model) -> None:
    row = examine(unbuilt.folder)
    assert (row.name, row.state, row.build) == ("tiny", "unusable", None)
    assert "is not built yet; run `sfd models build tiny`" in row.problem
    assert row.description == unbuilt


def test_a_model_without_a_readable_description_is_named_after_its_folder(store: Path) -> None:
    (store / "odd").mkdir()
    (store / "odd" / "model.toml").write_text("= 1")
    row = examine(store / "odd")
    assert (row.name, row.state, row.description) == ("odd", "unusable", None)
    assert data(row) == {"name": "odd", "state": "unusable", "problem": row.problem}
    assert card(row) == f"odd: unusable ({row.problem})"


def test_columns_are_as_wide_as_their_longest_cell_and_problems_follow(
    description: Description,
) -> None:
    rows = [
        Listed("a", "ready", description=replace(description, name="a")),
        Listed("a-longer-name", "unusable", "its file is missing"),
    ]
    head, first, second, *rest = table(rows).splitlines()
    assert head.index("STATE") == first.index("ready") == second.index("unusable")
    assert head.index("INPUT") == first.index("64x64") == second.index("?")
    assert head.index("TITLE") == first.index("A tiny detector")
    assert rest == ["a-longer-name: its file is missing"]
    assert all(line == line.rstrip() for line in (head, first, second))


def test_json_of_an_installed_model_has_its_folder_and_build(built: Model) -> None:
    found = data(examine(built.folder))
    assert found["folder"] == str(built.folder)
    assert found["build"]["sha256"] == sha256(built.onnx)
    assert (found["state"], found["problem"], found["title"]) == ("ready", "", "A tiny detector")


def test_json_of_an_available_model_has_its_origin(catalog: Catalog) -> None:
    found = data(Listed("tiny", "available", description=catalog["tiny"]))
    assert found["sources"]["weights"]["url"] == "https://example.com/weights"
    assert "folder" not in found
    assert "build" not in found


def test_a_card_says_what_is_downloaded_or_how_it_was_built(catalog: Catalog, built: Model) -> None:
    offered = card(Listed("tiny", "available", description=catalog["tiny"]))
    assert "to fetch:    2,000 bytes" in offered
    assert "folder:" not in offered
    installed = card(examine(built.folder))
    assert f"folder:      {built.folder}" in installed
    assert "to fetch" not in installed
    assert f"file:        model.onnx, sha256 {sha256(built.onnx)}" in installed
    assert "input:       64x64 (height x width), bgr, mean 104, 117, 123, scale 1" in installed


def test_each_name_of_a_card_ends_before_its_value(description: Description) -> None:
    about = replace(
        description, second_look=SecondLook(side=64, scale=0.5, min_side=20, trigger=0.5)
    )
    lines = card(Listed("tiny", "ready", description=about)).splitlines()
    assert "second look: at 64x64, for faces from 20 pixels" in lines


def test_a_description_of_several_lines_is_one_line_of_the_card(description: Description) -> None:
    wrapped = replace(description, description="Random\n  weights,\nand more.")
    assert "\nRandom weights, and more.\n" in card(Listed("tiny", "ready", description=wrapped))
