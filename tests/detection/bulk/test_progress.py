import io

import pytest

from detection.bulk.progress import Progress, _duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_with_pictures_per_second_and_failures() -> None:
    stream = Terminal()
    with Progress(200, 50, stream) as progress:
        progress.failed(3)
        progress.advance(50)
    shown = stream.getvalue().split("\r")
    assert "50/200" in shown[1]
    assert "100/200" in shown[-1]
    assert "pictures/s" in shown[-1]
    assert "3 failed" in shown[-1]


def test_elsewhere_a_line_is_printed_now_and_then() -> None:
    stream, now = io.StringIO(), [0.0]
    with Progress(1000, 100, stream, clock=lambda: now[0]) as progress:
        for _ in range(13):
            now[0] += 10
            progress.advance(20)
    assert stream.getvalue().splitlines() == [
        "sfd detect: 1000 pictures, 100 of them done before",
        "sfd detect: 220 of 1000 pictures, 2.0 per second, 6 min left",
        "sfd detect: 340 of 1000 pictures, 2.0 per second, 6 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "1 h 00 min"),
        (11_100, "3 h 05 min"),
        (200_000, "2 d 08 h"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float, text: str) -> None:
    assert _duration(seconds) == text
