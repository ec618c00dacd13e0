import pytest

from convert.caffe.caffe_pb2 import LayerParameter
from convert.caffe.legacy import Entry
from convert.caffe.values import Resolved, resolve

Row = tuple[str, list[str], list[str]]


LABELS = Entry(LayerParameter(name="d", type="SoftmaxWithLoss"), 0)


def run(rows: list[Row], inputs: list[str], absent: dict[str, Entry] | None = None) -> Resolved:
    entries = [
        Entry(LayerParameter(name=name, bottom=bottoms, top=tops), index)
        for index, (name, bottoms, tops) in enumerate(rows, 1)
    ]
    return resolve(entries, inputs, absent or {})


@pytest.mark.parametrize(
    ("rows", "bottoms", "tops", "outputs"),
    [
        ([("a", ["data"], ["x"])], [("data",)], [("x",)], ("x",)),
        (
            [("c", ["data"], ["x"]), ("r", ["x"], ["x"])],
            [("data",), ("x@c",)],
            [("x@c",), ("x",)],
            ("x",),
        ),
        (
            [("c", ["data"], ["x"]), ("b", ["x"], ["x"]), ("r", ["x"], ["x"]), ("d", ["x"], ["y"])],
            [("data",), ("x@c",), ("x@b",), ("x",)],
            [("x@c",), ("x@b",), ("x",), ("y",)],
            ("y",),
        ),
        # A reader before the layer in place sees what was before it.
        (
            [("c", ["data"], ["x"]), ("d", ["x"], ["y"]), ("r", ["x"], ["x"])],
            [("data",), ("x@c",), ("x@c",)],
            [("x@c",), ("y",), ("x",)],
            ("y", "x"),
        ),
        # An input keeps its name.
        (
            [("s", ["data"], ["data"]), ("c", ["data"], ["x"])],
            [("data",), ("data@s",)],
            [("data@s",), ("x",)],
            ("x",),
        ),
        # Unnamed or equally named layers in place, and a blob that looks like a version.
        (
            [("", ["data"], ["x"]), ("", ["x"], ["x"]), ("", ["x"], ["x"])],
            [("data",), ("x@",), ("x@#2",)],
            [("x@",), ("x@#2",), ("x",)],
            ("x",),
        ),
        (
            [("q", ["data"], ["x@c"]), ("c", ["x@c"], ["x"]), ("r", ["x"], ["x"])],
            [("data",), ("x@c",), ("x@c#2",)],
            [("x@c",), ("x@c#2",), ("x",)],
            ("x",),
        ),
        ([("s", ["data"], ["x", "y", "z"])], [("data",)], [("x", "y", "z")], ("x", "y", "z")),
        (
            [("e", ["data", "data"], ["x"]), ("q", ["x"], [])],
            [("data", "data"), ("x",)],
            [("x",), ()],
            (),
        ),
    ],
)
def test_every_value_is_made_once(
    rows: list[Row],
    bottoms: list[tuple[str, ...]],
    tops: list[tuple[str, ...]],
    outputs: tuple[str, ...],
) -> None:
    found = run(rows, ["data"])
    assert found.problems == []
    assert (found.bottoms, found.tops, found.outputs) == (bottoms, tops, outputs)
    made = [name for names in found.tops for name in names]
    assert len(made) == len(set(made))


@pytest.mark.parametrize(
    ("rows", "line", "message"),
    [
        ([("a", ["dta"], ["x"])], 1, "nothing makes bottom dta; did you mean data?"),
        ([("a", ["q"], ["x"])], 1, "nothing makes bottom q; add the layer or input"),
        (
            [("a", ["data", "y"], ["x"]), ("b", ["x"], ["y"])],
            1,
            "bottom y is made later, by layer b on line 2; layers run in the order of the file",
        ),
        ([("a", ["x"], ["x"])], 1, "bottom x is made later, by layer a on line 1"),
        (
            [("a", ["data"], ["x"]), ("b", ["data"], ["x"])],
            2,
            "top x is already made by layer a; rename one",
        ),
        ([("a", [], ["data"])], 1, "top data is already made by the network's input"),
        (
            [("a", ["data"], ["x"]), ("b", ["data", "x"], ["x"])],
            2,
            "top x is already made by layer a",
        ),
        ([("a", ["label"], ["x"])], 1, "exists only in training, where layer d makes it"),
    ],
)
def test_an_impossible_blob_is_a_problem(rows: list[Row], line: int, message: str) -> None:
    (problem,) = run(rows, ["data"], {"label": LABELS}).problems
    assert (problem.line, problem.layer) == (line, rows[line - 1][0])
    assert message in problem.message


def test_a_missing_blob_is_reported_once() -> None:
    found = run([("a", ["q"], ["x"]), ("b", ["q"], ["y"]), ("c", ["q"], ["q"])], [])
    assert len(found.problems) == 1


def test_a_cycle_is_reported_once_where_it_starts() -> None:
    rows = [("a", ["data", "z"], ["x"]), ("b", ["x"], ["y"]), ("c", ["y"], ["z"])]
    (problem,) = run(rows, ["data"]).problems
    assert problem.layer == "a"
    assert "made later, by layer c on line 3" in problem.message
