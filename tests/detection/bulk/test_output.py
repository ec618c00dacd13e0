import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from detection.bulk.errors import BulkError
from detection.bulk.output import PLAN, Output, listing_name, part_name
from sfd.errors import UsageError

ID = "0123456789abcdef" * 4
LISTING = listing_name(ID)
WHOLE = b"PAR1 rows PAR1"


@pytest.fixture(params=["local", "memory"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Output]:
    """An output folder that does not exist yet."""
    if request.param == "local":
        yield Output(str(tmp_path / "out"))
        return
    yield Output("memory://output/out")
    fsspec.filesystem("memory").rm("/output", recursive=True)


def test_a_new_folder_has_no_plan_and_no_finished_shard(output: Output) -> None:
    output.write("other", b"")  # only so that the fixture has something to delete
    output = Output(f"{output.name}/new")
    assert output.read_plan() is None
    assert output.finished(ID, 3) == bytearray(3)


def test_what_was_written_is_there(output: Output) -> None:
    output.write(PLAN, b"plan")
    output.write(part_name(1, ID), WHOLE)
    assert output.read_plan() == b"plan"
    assert output.finished(ID, 3) == bytearray([0, 1, 0])
    assert output.has(part_name(1, ID))
    assert not output.has(part_name(2, ID))
    with output.open(part_name(1, ID)) as file:
        assert file.read() == WHOLE


def test_a_shard_written_again_replaces_the_file(output: Output) -> None:
    output.write(part_name(1, ID), WHOLE)
    output.write(part_name(1, ID), WHOLE + b" PAR1")
    with output.open(part_name(1, ID)) as file:
        assert file.read() == WHOLE + b" PAR1"


def test_a_large_file_is_copied(output: Output, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "listing").write_bytes(content)
    output.write_copy(LISTING, tmp_path / "listing")
    with output.open(LISTING) as file:
        assert file.read() == content


@pytest.mark.parametrize("name", ["notes.txt", "results/notes.txt", "results/part-1.parquet"])
def test_a_folder_with_other_files_is_refused(output: Output, name: str) -> None:
    output.write(name, b"mine")
    with pytest.raises(UsageError, match="which is not of a bulk job; choose a new or empty"):
        output.read_plan()
    with output.open(name) as file:
        assert file.read() == b"mine"


@pytest.mark.parametrize(
    "name", ["results/notes.txt", part_name(0, "f" * 64), part_name(3, ID), "results/part.tmp"]
)
def test_a_file_of_another_job_among_the_results_is_refused(output: Output, name: str) -> None:
    output.write(PLAN, b"plan")
    output.write(name, WHOLE)
    with pytest.raises(UsageError, match="which is not of this job; move it away"):
        output.finished(ID, 3)


def test_other_files_beside_a_plan_are_left_alone(output: Output) -> None:
    output.write(PLAN, b"plan")
    output.write("notes.txt", b"mine")
    output.clean(LISTING)
    assert output.read_plan() == b"plan"
    assert output.has("notes.txt")


def test_a_listing_without_a_plan_is_of_a_job_that_was_stopped(output: Output) -> None:
    output.write(LISTING, b"listing")
    assert output.read_plan() is None


def test_temporary_files_are_deleted_and_no_others(tmp_path: Path) -> None:
    output = Output(str(tmp_path))
    left = [
        f".{PLAN}.x_1.tmp",
        f".{LISTING}.abc.tmp",
        "results/.part-00000001-01234567.parquet.a.tmp",
    ]
    left += [listing_name("f" * 64)]
    kept = [LISTING, ".plan.txt.abc.tmp", "results/.mine.tmp", PLAN]
    for name in left + kept:
        output.write(name, b"x")
    output.clean(LISTING)
    assert not any((tmp_path / name).exists() for name in left)
    assert all((tmp_path / name).exists() for name in kept)


def test_half_a_file_on_a_remote_file_system_is_not_finished() -> None:
    output = Output("memory://output/half")
    output.write(part_name(0, ID), WHOLE)
    output.write(part_name(1, ID), WHOLE[:-2])
    output.write(part_name(2, ID), b"")
    assert output.finished(ID, 3) == bytearray([1, 0, 0])


def test_a_temporary_file_that_another_job_deletes_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, fsync = Output(str(tmp_path)), os.fsync

    def start_another(file: int) -> None:
        fsync(file)
        monkeypatch.setattr("os.fsync", fsync)
        Output(str(tmp_path)).clean(LISTING)

    monkeypatch.setattr("os.fsync", start_another)
    output.write(part_name(0, ID), WHOLE)
    assert output.finished(ID, 1) == bytearray([1])


def test_a_full_disk_ends_the_job_without_half_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    output = Output(str(tmp_path))
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BulkError, match="No space left on device"):
        output.write(part_name(0, ID), WHOLE)
    assert list((tmp_path / "results").iterdir()) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is a file; name a folder"):
        Output(str(tmp_path / "out")).read_plan()


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(UsageError, match="teapot"):
        Output("teapot://out")


def test_a_local_folder_may_have_colons_in_its_name(tmp_path: Path) -> None:
    Output(f"{tmp_path}/a::b").write(PLAN, b"{}")
    assert (tmp_path / "a::b" / PLAN).read_bytes() == b"{}"
