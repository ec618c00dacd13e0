"""The fuzz targets work on their seeds and on every case that failed once."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUZZING = ROOT / "fuzzing"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZING.glob("fuzz_*.py"))
SECONDS = int(os.environ.get("SFD_FUZZ_SECONDS", "300"))
RUNS = {"prototxt": 200, "caffemodel": 100}
"""Changes of the seeds in `make test`; 300 for the others, which are faster."""


def run(folder: Path, *arguments: str, seconds: float = 300) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds,
    )


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    done = run(folder, str(FUZZING / "seeds.py"), str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_there_are_five_targets_each_with_seeds_and_a_dictionary(corpora: Path) -> None:
    assert TARGETS == ["body", "caffemodel", "image", "prototxt", "tensors"]
    assert sorted(path.name for path in corpora.iterdir()) == TARGETS
    assert sorted(path.stem for path in (FUZZING / "dictionaries").iterdir()) == TARGETS
    assert all(any((corpora / target).iterdir()) for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_holds_on_its_seeds_its_cases_and_changes_of_them(
    corpora: Path, tmp_path: Path, target: str
) -> None:
    runs = RUNS.get(target, 300)
    script = FUZZING / f"fuzz_{target}.py"
    done = run(tmp_path, str(script), "-plain", f"-runs={runs}", str(corpora / target))
    assert done.returncode == 0, done.stderr[-4000:]
    seeds = len(list((corpora / target).iterdir()))
    assert f"{seeds} files and {runs} changes of them" in done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_a_dictionary_is_in_the_form_that_libfuzzer_reads(target: str) -> None:
    entry = re.compile(r'"([^"\\]|\\x[0-9a-f]{2})+"')
    lines = (FUZZING / "dictionaries" / f"{target}.dict").read_text("ascii").splitlines()
    assert [line for line in lines if line[0] != "#" and not entry.fullmatch(line)] == []


@pytest.mark.soak
@pytest.mark.parametrize("target", TARGETS)
def test_guided_by_coverage_the_fuzzer_finds_nothing(
    corpora: Path,
    tmp_path: Path,
    target: str,
    missing: Callable[[str], NoReturn],
    capsys: pytest.CaptureFixture[str],
) -> None:
    if find_spec("atheris") is None:
        missing("atheris is not installed (requirements/fuzz.txt)")
    found = tmp_path / "found"
    found.mkdir()
    done = run(
        tmp_path,
        str(FUZZING / f"fuzz_{target}.py"),
        str(found),
        str(corpora / target),
        f"-max_total_time={SECONDS}",
        f"-dict={FUZZING}/dictionaries/{target}.dict",
        "-timeout=30",
        "-rss_limit_mb=2500",
        "-max_len=8192",
        "-print_final_stats=1",
        seconds=SECONDS + 300,
    )
    with capsys.disabled():
        print(target, *re.findall(r"#\d+\s+DONE.*", done.stderr))
    crashes = [str(path) for path in tmp_path.iterdir() if path.is_file()]
    assert done.returncode == 0, f"{crashes}\n{done.stderr[-4000:]}"
