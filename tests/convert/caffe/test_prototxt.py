import math
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from convert.caffe import caffe_pb2, prototxt
from convert.caffe.caffe_pb2 import NetParameter
from convert.caffe.diagnostics import CaffeError
from convert.caffe.prototxt import MAX_DEPTH, MAX_ERRORS

CONVOLUTION = 'layer { name: "c" type: "Convolution" convolution_param { %s } }'
LOSS_WEIGHTS = [1, 1.5, 0.5, 0.125, 2, 2.5, -3]


def layer(text: str) -> caffe_pb2.LayerParameter:
    return prototxt.parse(f"layer {{ {text}\n}}", NetParameter).message.layer[0]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ('name: "a"', "name", "a"),
        ("name: 'a'", "name", "a"),
        ('name: "a" "b"\n  "c"', "name", "abc"),
        (r'name: "a\"\x41\101\n\t\\"', "name", 'a"AA\n\t\\'),
        ('name: "#not a comment"', "name", "#not a comment"),
        ('name: "Gesichtserkennung: ä"', "name", "Gesichtserkennung: ä"),
        ('bottom: "a" bottom: "b"', "bottom", ["a", "b"]),
        ('bottom: ["a", "b"]', "bottom", ["a", "b"]),
        ('bottom: ["a"] bottom: "b"', "bottom", ["a", "b"]),
        ("bottom: []", "bottom", []),
        ("phase: TEST", "phase", 1),
        ("phase: 1", "phase", 1),
        ("loss_weight: [1, 1.5, .5, 125e-3, 2f, 2.5F, -3]", "loss_weight", LOSS_WEIGHTS),
        ("propagate_down: [true, false, 1, 0, True, False, t, f]", "propagate_down", [1, 0] * 4),
        ('name: "a"; type: "b",', "type", "b"),
        ('name:"a"type:"b"', "type", "b"),
        ('# first\nname: "a" # rest\n#last', "name", "a"),
    ],
)
def test_every_form_of_a_scalar_is_read(text: str, name: str, value: object) -> None:
    found = getattr(layer(text), name)
    assert (list(found) if isinstance(value, list) else found) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("0x1F", 31), ("0X1f", 31), ("017", 15), ("0", 0)],
)
def test_integers_are_decimal_hexadecimal_or_octal(text: str, value: int) -> None:
    net = prototxt.parse(CONVOLUTION % f"num_output: {text}", NetParameter).message
    assert net.layer[0].convolution_param.num_output == value


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("loss_weight: - 1.5", "loss_weight", [-1.5]),
        ("loss_weight: [-\t2, - 3]", "loss_weight", [-2, -3]),
        ("loss_weight: - inf", "loss_weight", [-math.inf]),
        ("propagate_down: true power_param { shift: - 0.5 }", "power_param.shift", -0.5),
        ("softmax_param { axis: - 1 }", "softmax_param.axis", -1),
    ],
)
def test_a_space_may_follow_a_sign(text: str, name: str, value: object) -> None:
    """Protobuf's C++ parser, which Caffe uses, reads it. That of Python does not."""
    found: object = layer(text)
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    "text", ["loss_weight: - -1", "loss_weight: - x", "pooling_param { kernel_size: - 1 }"]
)
def test_a_sign_alone_makes_no_number(text: str) -> None:
    with pytest.raises(CaffeError):
        layer(text)


@pytest.mark.parametrize("text", ["inf", "-inf", "infinity", "Inf", "nan", "NaN", "-nan"])
def test_floats_may_be_infinite_or_nan(text: str) -> None:
    (value,) = layer(f"loss_weight: {text}").loss_weight
    assert not math.isfinite(value)
    assert math.isnan(value) == ("nan" in text.lower())


@pytest.mark.parametrize(
    "text",
    [
        'layer { name: "a" }',
        'layer: { name: "a" }',
        'layer < name: "a" >',
        'layer: < name: "a" >',
        'layer: [{ name: "a" }]',
        'layer [{ name: "a" }]',
        'layer{name:"a"};',
        'layer\n{\nname\n:\n"a"\n}',
        '\ufefflayer { name: "a" }',
    ],
)
def test_every_form_of_a_message_is_read(text: str, prototxt_file: Callable[[str], Path]) -> None:
    parsed = prototxt.read(prototxt_file(text), caffe_pb2.NetParameter)
    assert [layer.name for layer in parsed.message.layer] == ["a"]
    assert parsed.lines == {"layer": [1]}


def test_the_line_of_each_layer_is_kept() -> None:
    text = 'name: "n"\n\nlayer { }\nlayer\n{\n}\nlayer: [ {},\n\n{} ]\n# the end'
    assert prototxt.parse(text, NetParameter).lines == {"name": [1], "layer": [3, 4, 7, 9]}


def test_unknown_fields_are_warnings_with_their_place_and_path() -> None:
    text = """\
layer {
  name: "c"
  turbo: true
  convolution_param { num_output: 2 winograd { tile: [4, 6] mode: FAST a < b: "x" 'y' > } }
}
magic: [{ a: 1 }, { b { c: -1.5e3 } }]
[some.extension] { a: 1 }
"""
    parsed = prototxt.parse(text, NetParameter)
    assert [str(warning) for warning in parsed.warnings] == [
        "line 3, column 3: unknown field layer.turbo is ignored",
        "line 4, column 37: unknown field layer.convolution_param.winograd is ignored",
        "line 6, column 1: unknown field magic is ignored",
        "line 7, column 1: unknown field [some.extension] is ignored",
    ]
    assert parsed.message.layer[0].convolution_param.num_output == 2


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("num_output: -1", "num_output: Value out of range: -1"),
        ("num_output: 3.5", "num_output: Couldn't parse integer: 3.5"),
        ("num_output: 99999999999", "num_output: Value out of range: 99999999999"),
        ('num_output: "3"', 'num_output: Couldn\'t parse integer: "3"'),
        ("bias_term: maybe", "bias_term: Expected"),
        ("engine: TPU", "engine: Enum type"),
        ("engine: 77", "engine: Enum type"),
        ("pad: [1, x, 2]", "pad: Couldn't parse integer: x"),
        ("group: 2 group: 4", "group is given twice; keep one"),
        ("weight_filler { type: msra }", "type: Expected string but found: 'msra'"),
        ("weight_filler { } weight_filler { }", "weight_filler is given twice; keep one"),
    ],
)
def test_a_wrong_value_is_an_error_with_its_place(inner: str, message: str) -> None:
    with pytest.raises(CaffeError) as caught:
        prototxt.parse("\n\n" + CONVOLUTION % inner, NetParameter)
    (problem,) = caught.value.diagnostics
    assert message in problem.message
    assert problem.line == 3
    assert problem.column is not None
    assert problem.column > 50


def test_all_wrong_values_are_reported_at_once() -> None:
    text = "\n".join(CONVOLUTION % f"num_output: x{index}" for index in range(5))
    with pytest.raises(CaffeError) as caught:
        prototxt.parse(text, NetParameter)
    assert [problem.line for problem in caught.value.diagnostics] == [1, 2, 3, 4, 5]


def test_reading_stops_after_many_mistakes() -> None:
    with pytest.raises(CaffeError) as caught:
        prototxt.parse("\n".join([CONVOLUTION % "num_output: x"] * 1000), NetParameter)
    assert len(caught.value.diagnostics) == MAX_ERRORS + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "layer {\n\n",
            "line 3, column 1: the file ends before the '}' of the block that starts on line 1",
        ),
        ("layer { name: 'a' >", "line 1, column 19: Expected identifier"),
        ("layer { name 'a' }", 'line 1, column 14: Expected ":"'),
        ("layer { name: { } }", "line 1, column 15: Expected string but found: '{'"),
        ("layer { name: 'a }", "line 1, column 15: name: String missing ending quote"),
        ("layer { x }", "line 1, column 11: Expected ':' or '{'"),
        ("layer { x: } }", "line 1, column 12: Expected a value but found '}'"),
        ("layer { x { ", "the file ends before the '}' of the block that starts on line 1"),
        ("name: 'a' }", "line 1, column 11: Expected identifier"),
        ("name: 'a'\n[x", "the file ends before the ']' of a name"),
    ],
)
def test_a_mistake_in_the_structure_is_an_error_with_its_place(text: str, message: str) -> None:
    with pytest.raises(CaffeError, match=r"^prototxt: ") as caught:
        prototxt.parse(text, NetParameter)
    assert message in str(caught.value)


@pytest.mark.parametrize("opening", ["layer { x { ", "layer {", "state {", "x { ", "x: [{ "])
def test_endless_nesting_is_an_error(opening: str) -> None:
    text = opening + "a { " * 100_000
    with pytest.raises(CaffeError):
        prototxt.parse(text, NetParameter)
    assert MAX_DEPTH < 100


@pytest.mark.parametrize(
    "text", ["", "  \n", "# nothing", "hello", "<html></html>", "import os\nx = 3", "a: 1", "{}"]
)
def test_a_text_that_is_not_a_prototxt_is_an_error(text: str) -> None:
    with pytest.raises(CaffeError, match="not a prototxt of a NetParameter"):
        prototxt.parse(text, NetParameter)


def test_a_comment_may_have_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes('# 卷积\nname: "a"'.encode("gbk"))
    assert prototxt.read(path, caffe_pb2.NetParameter).message.name == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read it: No such file"),
        (b"a\0b", "a binary file, not a prototxt"),
        (b"\x1f\x8b\x08\0", "a compressed archive; unpack it first"),
        (b"\x08\x0a\x3a\0", "an ONNX file, not one of Caffe's"),
    ],
)
def test_a_file_that_is_not_a_prototxt_is_reported_as_such(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "net.prototxt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CaffeError, match=message):
        prototxt.read(path, caffe_pb2.NetParameter)


def test_a_folder_is_not_a_prototxt(tmp_path: Path) -> None:
    with pytest.raises(CaffeError, match="can't read it"):
        prototxt.read(tmp_path, caffe_pb2.NetParameter)


def test_a_written_message_reads_the_same(small_text: str) -> None:
    message = prototxt.parse(small_text, NetParameter).message
    written = prototxt.write(message)
    assert written.startswith('name: "small"\ninput: "data"\ninput_shape {\n  dim: 1\n')
    assert prototxt.parse(written, NetParameter).message == message
    assert prototxt.write(prototxt.parse(written, NetParameter).message) == written


@given(
    st.builds(
        caffe_pb2.FillerParameter,
        type=st.text(st.characters(codec="utf-8")),
        value=st.floats(width=32, allow_nan=False),
        sparse=st.integers(-(2**31), 2**31 - 1),
        variance_norm=st.sampled_from([0, 1, 2]),
    )
)
def test_any_message_survives_writing_and_reading(message: caffe_pb2.FillerParameter) -> None:
    text = prototxt.write(message)
    assert prototxt.parse(text, caffe_pb2.FillerParameter).message == message


def test_real_files_read_as_protobuf_reads_them(
    shared: Path,
) -> None:
    paths = sorted((shared / "models").rglob("*.prototxt"))
    assert len(paths) >= 11
    for path in paths:
        solver = path.name == "solver.prototxt"
        kind = caffe_pb2.SolverParameter if solver else caffe_pb2.NetParameter
        parsed = prototxt.read(path, kind)
        assert parsed.warnings == ()
        assert parsed.message == text_format.Parse(path.read_text(), kind())


def test_a_backslash_that_escapes_nothing_is_kept() -> None:
    assert layer(r'name: "C:\sets"').name == r"C:\sets"
