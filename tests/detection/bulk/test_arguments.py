"""Which arguments of `sfd detect` go together with --bulk."""

import argparse
from pathlib import Path

import pytest

from detection.bulk.arguments import Part, part
from sfd.cli import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "name an IMAGE, or --bulk SOURCE"),
        ("a.png --out DIR", "--out needs --bulk SOURCE"),
        ("a.png --shard-size 5", "--shard-size needs --bulk SOURCE"),
        ("a.png --keep-listing", "--keep-listing needs --bulk SOURCE"),
        ("a.png --ray", "--ray needs --bulk SOURCE"),
        ("a.png --part 1/2", "--part needs --bulk SOURCE"),
        ("--bulk SOURCE", "--bulk needs --out DIR"),
        ("--bulk= --out DIR", "the name of the source is empty"),
        ("--bulk SOURCE --out DIR a.png", "takes no further images, but there is a.png"),
        ("--bulk SOURCE --out DIR --json", "--json does not go with --bulk"),
        ("--bulk SOURCE --out DIR --draw x", "--draw does not go with --bulk"),
        ("--bulk SOURCE --out DIR --force", "--force does not go with --bulk"),
        ("--bulk SOURCE --out DIR --style blur", "--style does not go with --bulk"),
        ("--bulk SOURCE --out DIR --key id", "--key needs --column NAME"),
        ("--bulk SOURCE --out DIR --ray-cpus 2", "--ray-cpus needs --ray"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["detect", *arguments.split()]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_part_is_a_number_of_a_number() -> None:
    assert part("3/16") == Part(3, 16)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", ""])
def test_another_part_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a part such as 3/16"):
        part(text)


def test_the_help_lists_each_option_of_a_bulk_job(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["detect", "--help"])
    said = capsys.readouterr().out
    for option in ("--bulk", "--out", "--column", "--key", "--shard-size", "--part",
                   "--keep-listing", "--ray", "--ray-cpus"):  # fmt: skip
        assert f"\n  {option} " in said or f"\n  {option}\n" in said, option
