"""`sfd bench`: the table, the JSON, and what it refuses."""

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import command
from sfd.errors import SfdError, UsageError


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(given)


@pytest.mark.parametrize("option", ["--rounds", "--batch"])
def test_a_number_below_one_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=option):
        command.run(arguments(option, "0"))


def test_a_measurement_of_the_default_model_is_printed_as_json(
    built_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(built_model.parent.parent)
    command.run(
        arguments("--store", store, "--rounds", "1", "--threads", "1", "--batch", "2", "--json")
    )
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], first["ratio"]) == ("OpenCV 4 on the caffemodel", 1)
    assert second["name"] == "onnxruntime, batch 2"
    assert second["ratio"] == pytest.approx(second["median_ms"] / first["median_ms"])
    assert first["low_ms"] == first["median_ms"] == first["high_ms"] > 0


def test_a_model_that_opencv_cannot_read_gives_no_traceback(store: Path) -> None:
    with pytest.raises(SfdError, match="OpenCV cannot read"):
        command.run(arguments("--store", str(store), "--model", "cells"))
