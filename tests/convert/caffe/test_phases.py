import pytest

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import TEST, TRAIN, NetParameter, NetState
from convert.caffe.legacy import entries
from convert.caffe.phases import select


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
