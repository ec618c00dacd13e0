import pytest

from convert.caffe import inputs, prototxt
from convert.caffe.caffe_pb2 import NetParameter
from convert.caffe.legacy import Entry


def entry(text: str) -> Entry:
    return Entry(prototxt.parse(f"layer {{ {text} }}", NetParameter).message.layer[0], 9)


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("", {}),
        ("input: 'a' input_shape { dim: 1 dim: 3 dim: 8 dim: 9 }", {"a": (1, 3, 8, 9)}),
        ("input: 'a' input_shape { dim: [2, 3, 8, 9] }", {"a": (2, 3, 8, 9)}),
        ("input: 'a' input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9", {"a": (1, 3, 8, 9)}),
        ("input: 'a' input_dim: [1, 3, 8, 9]", {"a": (1, 3, 8, 9)}),
        (
            "input: ['a', 'b'] input_shape { dim: [1, 3, 8, 9] } input_shape { dim: [1, 3] }",
            {"a": (1, 3, 8, 9), "b": (1, 3)},
        ),
        (
            "input: 'a' input_dim: [1, 3, 8, 9] input: 'b' input_dim: [1, 3, 1, 1]",
            {"a": (1, 3, 8, 9), "b": (1, 3, 1, 1)},
        ),
    ],
)
def test_inputs_are_declared_with_shapes_or_dims(
    text: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    parsed = prototxt.parse("name: 'n' " + text, NetParameter)
    assert inputs.declared(parsed, (5, 6)) == (shapes, [])
    assert inputs.unsized(parsed) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input: ['a', 'b']", "0 input_dim for 2 input: give four each"),
        ("input: 'a' input_dim: [1, 3, 8]", "3 input_dim for 1 input"),
        ("input: 'a' input_dim: [1, 3, 8, 9, 9]", "5 input_dim for 1 input"),
        ("input: ['a', 'b'] input_dim: [1, 3, 8, 9]", "4 input_dim for 2 input"),
        ("input: ['a', 'b'] input_shape { dim: 1 }", "1 input_shape for 2 input"),
        ("input: ['a', 'a'] input_dim: [1,1,1,1,1,1,1,1]", "input a is declared twice"),
        ("input: 'a' input_dim: [1, 3, -8, 9]", "1×3×-8×9: every dimension must be at least 1"),
        ("input: 'a' input_dim: [0, 3, 8, 9]", "every dimension must be at least 1"),
        (
            "input: 'a' input_dim: [1, 3, 0, 0]",
            "1×3×0×0: give the input size, in the prototxt or by --input-size",
        ),
        ("input: 'a' input_shape { }", "the shape nothing: every dimension"),
        ("input: 'a' input_dim: [1, 3, 8, 70000]", "too large to run"),
        ("input: 'a' input_dim: [1, 60000, 60000, 9]", "too large to run"),
    ],
)
def test_inputs_without_a_valid_shape_are_a_problem(text: str, message: str) -> None:
    _, (problem,) = inputs.declared(prototxt.parse("\n" + text, NetParameter), None)
    assert message in problem.message
    assert problem.line == 2


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("top: 'a' input_param { shape { dim: [1, 3, 8, 9] } }", {"a": (1, 3, 8, 9)}),
        ("top: ['a', 'b'] input_param { shape { dim: [1, 3] } }", {"a": (1, 3), "b": (1, 3)}),
        (
            "top: ['a', 'b'] input_param { shape { dim: [1, 3] } shape { dim: [4] } }",
            {"a": (1, 3), "b": (4,)},
        ),
    ],
)
def test_an_input_layer_gives_one_shape_for_all_or_one_each(
    text: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    assert inputs.of_input_layer(entry("type: 'Input' " + text), (5, 6)) == (shapes, [])


@pytest.mark.parametrize(
    "text",
    [
        "top: 'a' top: 'b'",
        "top: 'a' input_param { shape { } }",
        "top: 'a' input_param { shape { dim: [1, 3, 0, 0] } }",
        "top: 'a' input_param { shape { dim: [1] } shape { dim: [2] } }",
    ],
)
def test_an_input_layer_without_a_valid_shape_is_a_problem(text: str) -> None:
    _, problems = inputs.of_input_layer(entry("name: 'i' type: 'Input' " + text), None)
    assert [(problem.line, problem.layer) for problem in problems] == [(9, "i")]


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (1 << 17, 5)])
def test_an_impossible_input_size_is_a_problem(size: tuple[int, int]) -> None:
    assert len(inputs.check_size(size)) == 1
    assert inputs.check_size(None) == inputs.check_size((1, 1 << 16)) == []
