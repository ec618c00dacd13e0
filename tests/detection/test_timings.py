from detection.timings import STAGES, Timings, slowest

ONE = Timings(0.001, 0.002, 0.003, 0.004, 0.005, 0.015)


def test_every_stage_is_shown_in_milliseconds() -> None:
    assert ONE.milliseconds() == {
        "decode": 1.0,
        "preprocess": 2.0,
        "queue": 3.0,
        "inference": 4.0,
        "postprocess": 5.0,
        "total": 15.0,
    }
    assert tuple(ONE.milliseconds()) == STAGES


def test_server_timing_names_the_same_times() -> None:
    assert ONE.server_timing().startswith("decode;dur=1.0, preprocess;dur=2.0, ")


def test_the_longest_time_of_several_images_counts_in_each_stage() -> None:
    other = Timings(0.002, 0.001, 0.003, 0.004, 0.005, 0.015)
    both = slowest([ONE, other], total=0.1)
    assert both == Timings(0.002, 0.002, 0.003, 0.004, 0.005, 0.1)
    assert slowest([], total=0.1).decode == 0
