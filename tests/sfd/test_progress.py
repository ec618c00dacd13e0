import io

from sfd.progress import Steps


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_step_in_one_line_that_is_erased() -> None:
    stream = Terminal()
    with Steps(("reading", "writing"), stream) as progress:
        progress("reading")
        progress("writing")
    assert stream.getvalue() == "\r[1/2] reading\x1b[K\r[2/2] writing\x1b[K\r\x1b[K"


def test_nothing_is_printed_to_a_file() -> None:
    stream = io.StringIO()
    with Steps(("reading",), stream) as progress:
        progress("reading")
    assert stream.getvalue() == ""


def test_the_line_can_be_cleared_for_a_progress_bar() -> None:
    stream = Terminal()
    progress = Steps(("reading",), stream)
    progress("reading")
    progress.clear()
    assert stream.getvalue() == "\r[1/1] reading\x1b[K\r\x1b[K"
