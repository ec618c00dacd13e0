from collections.abc import Callable

import pytest

from benchmarks.contest import Contestant, Timing, measure, table


class Clock:
    """A clock that runs only while a contestant runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, *seconds: float) -> Callable[[], None]:
        durations = iter(seconds)

        def run() -> None:
            self.now += next(durations)

        return run


def test_reports_milliseconds_per_image_without_the_warm_up_and_ratios_to_the_first() -> None:
    clock = Clock()
    single = Contestant("single", 1, clock.takes(9.0, 0.1, 0.2, 0.4))
    batch = Contestant("batch", 4, clock.takes(9.0, 0.2, 0.4, 0.8))
    first, second = measure([single, batch], rounds=3, clock=clock)
    assert (first.name, first.median_ms, first.low_ms, first.high_ms) == pytest.approx(
        ("single", 200, 100, 400)
    )
    assert first.ratio == 1
    assert second.median_ms == pytest.approx(100)
    assert second.ratio == pytest.approx(0.5)


def test_contestants_take_turns_so_that_machine_drift_affects_all() -> None:
    order: list[str] = []
    contestants = [
        Contestant(name, 1, lambda name=name: order.append(name))  # type: ignore[misc]
        for name in "ab"
    ]
    rounds: list[int] = []
    measure(contestants, rounds=2, after_round=lambda: rounds.append(len(order)))
    assert order == ["a", "b"] * 3
    assert rounds == [4, 6]


def test_the_table_has_a_line_for_each_contestant_with_its_ratio() -> None:
    lines = table(
        [Timing("OpenCV", 50.0, 48.0, 61.5, 1.0), Timing("ours", 25.04, 24.0, 30.0, 0.5)]
    ).splitlines()
    assert lines[0].split() == ["ms/image", "min", "max", "time"]
    assert lines[1].split() == ["OpenCV", "50.0", "48.0", "61.5", "1.00x"]
    assert lines[2].split() == ["ours", "25.0", "24.0", "30.0", "0.50x"]
    assert len({len(line) for line in lines}) == 1, "the columns stand below each other"
