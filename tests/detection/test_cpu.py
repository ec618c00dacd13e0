import os
from pathlib import Path

import pytest

from detection.cpu import available_cpus, core_cache


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),  # rounded up
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "99900000 100000\n"}, 64),
        ({"cpu.max": "nonsense\n"}, 64),
        ({"cpu.max": "5 0\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "400000\n"}, 64),
    ],
)
def test_cpus_are_the_smaller_of_affinity_and_quota(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cpus(tmp_path) == expected


def test_this_machine_has_at_least_one_cpu() -> None:
    assert available_cpus() >= 1


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, None),
        ({"1": "48K", "2": "1024K", "3": "32768K"}, 1 << 20),
        ({"1": "48K", "3": "32768K"}, None),
        ({"2": "nonsense"}, None),
        ({"2": "K"}, None),
        ({"2": ""}, None),
    ],
)
def test_the_cache_of_a_core_is_the_second_level(
    sizes: dict[str, str], expected: int | None, tmp_path: Path
) -> None:
    for index, (level, size) in enumerate(sizes.items()):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
    assert core_cache(tmp_path) == expected


def test_the_cache_of_this_machine_is_a_number_or_unknown() -> None:
    found = core_cache()
    assert found is None or found > 0
