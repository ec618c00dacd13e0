import pytest

from convert.caffe.diagnostics import MAX_LENGTH, MAX_SHOWN, CaffeError, Diagnostic
from sfd.errors import SfdError


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Diagnostic("no weights"), "no weights"),
        (Diagnostic("no weights", 3), "line 3: no weights"),
        (Diagnostic("no weights", 3, 7), "line 3, column 7: no weights"),
        (Diagnostic("no weights", 3, layer="conv"), "line 3, layer conv: no weights"),
        (Diagnostic("no weights", layer="conv"), "layer conv: no weights"),
    ],
)
def test_a_problem_starts_with_its_place(problem: Diagnostic, text: str) -> None:
    assert str(problem) == text


def test_one_problem_is_one_line() -> None:
    error = CaffeError("net.prototxt", [Diagnostic("bad", 3)])
    assert isinstance(error, SfdError)
    assert str(error) == "net.prototxt: line 3: bad"


def test_several_problems_are_counted_and_listed() -> None:
    error = CaffeError("net.prototxt", [Diagnostic("bad", 3), Diagnostic("worse", 4)])
    assert str(error) == "net.prototxt: 2 problems:\n  line 3: bad\n  line 4: worse"
    assert [problem.line for problem in error.diagnostics] == [3, 4]


def test_a_file_of_mistakes_gives_a_message_of_limited_length() -> None:
    error = CaffeError("net.prototxt", [Diagnostic("bad")] * 5000)
    lines = str(error).splitlines()
    assert lines[0] == "net.prototxt: 5000 problems:"
    assert lines[-1] == f"  and {5000 - MAX_SHOWN} more"
    assert len(lines) == MAX_SHOWN + 2


def test_names_from_a_damaged_file_are_made_printable() -> None:
    text = str(Diagnostic("bad", layer="a\n\x1b[31m" + "b" * 1000))
    assert text.isprintable()
    assert len(text) == MAX_LENGTH
