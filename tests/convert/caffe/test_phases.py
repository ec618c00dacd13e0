import pytest

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import TEST, TRAIN, NetParameter, NetState
from convert.caffe.legacy import entries
from convert.caffe.phases import left_out, select


def names(rules: str, state: NetState) -> list[str]:
    parsed = prototxt.parse(f'layer {{ name: "a" type: "ReLU" {rules} }}', NetParameter)
    found, problems = select(entries(parsed)[0], state)
    assert problems == []
    return [entry.parameter.name for entry in found]


@pytest.mark.parametrize(
    ("rules", "state", "included"),
    [
        ("", NetState(), True),
        ("include { phase: TEST }", NetState(phase=TEST), True),
        ("include { phase: TEST }", NetState(phase=TRAIN), False),
        ("exclude { phase: TEST }", NetState(phase=TEST), False),
        ("exclude { phase: TEST }", NetState(phase=TRAIN), True),
        ("include { }", NetState(phase=TRAIN), True),
        ("exclude { }", NetState(phase=TRAIN), False),
        ("include { min_level: 2 }", NetState(level=1), False),
        ("include { min_level: 2 }", NetState(level=2), True),
        ("include { max_level: 2 }", NetState(level=2), True),
        ("include { max_level: 2 }", NetState(level=3), False),
        ("include { min_level: 0 }", NetState(level=-1), False),
        ("include { stage: 'deploy' }", NetState(), False),
        ("include { stage: 'deploy' }", NetState(stage=["deploy", "x"]), True),
        ("include { stage: 'a' stage: 'b' }", NetState(stage=["a"]), False),
        ("include { stage: 'a' stage: 'b' }", NetState(stage=["b", "a"]), True),
        ("include { not_stage: 'a' }", NetState(), True),
        ("include { not_stage: 'a' }", NetState(stage=["a"]), False),
        ("include { stage: 'a' not_stage: 'b' }", NetState(stage=["a", "b"]), False),
        ("include { phase: TRAIN } include { stage: 'a' }", NetState(stage=["a"]), True),
        ("include { phase: TRAIN stage: 'a' }", NetState(stage=["a"]), False),
        ("exclude { stage: 'a' } exclude { min_level: 1 }", NetState(level=1), False),
        ("exclude { stage: 'a' } exclude { min_level: 1 }", NetState(), True),
    ],
)
def test_a_layer_is_in_the_network_when_its_rules_say_so(
    rules: str, state: NetState, included: bool
) -> None:
    assert names(rules, state) == (["a"] if included else [])


def test_both_kinds_of_rules_are_a_problem() -> None:
    parsed = prototxt.parse('\nlayer { name: "a" include { } exclude { } }', NetParameter)
    found, problems = select(entries(parsed)[0], NetState())
    assert found == []
    assert [(problem.line, problem.layer) for problem in problems] == [(2, "a")]


@pytest.mark.parametrize(
    ("rules", "stages"),
    [
        ("include { stage: 'deploy' }", "deploy"),
        ("include { phase: TRAIN stage: 'deploy' } include { stage: 'b' stage: 'a' }", "a,b"),
        ("include { stage: 'on' stage: 'more' }", "more"),
        ("include { stage: 'on' }", None),
        ("include { phase: TRAIN stage: 'deploy' }", None),
        ("include { stage: 'deploy' not_stage: 'on' }", None),
        ("exclude { stage: 'on' }", None),
        ("", None),
    ],
)
def test_a_layer_that_another_stage_includes_is_named(rules: str, stages: str | None) -> None:
    parsed = prototxt.parse(f'layer {{ name: "a" {rules} }}', NetParameter)
    found = left_out(entries(parsed)[0], NetState(phase=TEST, stage=["on"]))
    assert [each.message for each in found] == (
        [f"layers left out because of their stage: a; --stage {stages} includes them"]
        if stages
        else []
    )


def test_many_layers_that_are_left_out_are_one_warning() -> None:
    text = "".join(f'layer {{ name: "{n}" include {{ stage: "s" }} }}' for n in "abcdefg")
    (found,) = left_out(entries(prototxt.parse(text, NetParameter))[0], NetState())
    assert "stage: a, b, c, d, e, …; --stage s" in found.message
