"""A benchmark begins when the machine is quiet."""

from benchmarks.servers import quiet


def begin(*loads: float) -> tuple[list[str], list[float]]:
    """What was said, and the pauses, if the load falls like this and then stays."""
    said: list[str] = []
    pauses: list[float] = []
    left = list(loads)
    quiet.wait(2, said.append, lambda: left.pop(0) if len(left) > 1 else left[0], pauses.append)
    return said, pauses


def test_a_quiet_machine_is_measured_at_once() -> None:
    assert begin(0.3) == ([], [])


def test_it_waits_until_other_work_has_ended() -> None:
    said, pauses = begin(1.8, 1.2, 0.9)
    assert said == ["waiting up to 180 s until other work ends: the load is 1.8"]
    assert pauses == [quiet.STEP_S] * 2


def test_a_busy_machine_is_measured_in_the_end_and_its_results_are_marked() -> None:
    said, pauses = begin(3.0)
    assert sum(pauses) == quiet.LONGEST_S
    assert "marked as a trial" in said[-1]
    assert not quiet.is_quiet(1.0, 2)
