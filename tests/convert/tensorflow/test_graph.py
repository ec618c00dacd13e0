from collections.abc import Callable
from pathlib import Path

import pytest

from convert.tensorflow import graph
from convert.tensorflow.graph_pb2 import GraphDef
from geometry.arrays import F32

Constants = dict[str, F32]
GAMMA = "FeatureExtractor/MobilenetV2/Conv/BatchNorm/gamma"


def save(path: Path, definition: GraphDef) -> Path:
    path.write_bytes(definition.SerializeToString())
    return path


@pytest.mark.parametrize("kind", ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"])
def test_epsilons_are_found_through_the_identity_of_each_gamma(
    constants: Constants, freeze: Callable[..., GraphDef], tmp_path: Path, kind: str
) -> None:
    frozen = freeze(constants, epsilon=0.01, batch_norm=kind)
    found = graph.read(save(tmp_path / "g.pb", frozen))
    assert found.epsilons[GAMMA] == pytest.approx(0.01)
    assert len(found.epsilons) == 13
    assert GAMMA in found.constants
    assert not found.variables


def test_an_epsilon_left_out_is_the_operators_own(tmp_path: Path) -> None:
    frozen = GraphDef()
    frozen.node.add(name="bn", op="FusedBatchNormV3", input=["x:0", "gamma:0"])
    frozen.node.add(name="gamma", op="Const")
    assert graph.read(save(tmp_path / "g.pb", frozen)).epsilons == {"gamma": 1e-4}


def test_a_cycle_of_identities_ends(tmp_path: Path) -> None:
    frozen = GraphDef()
    frozen.node.add(name="bn", op="FusedBatchNorm", input=["x", "a"])
    frozen.node.add(name="a", op="Identity", input=["b"])
    frozen.node.add(name="b", op="Identity", input=["a"])
    assert len(graph.read(save(tmp_path / "g.pb", frozen)).epsilons) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"\xff\xff\xff\xff" * 10, "not a GraphDef, or truncated or damaged"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x1f\x8b\x08rest", "unpack it"),
        (b"\x89HDF\r\n", "a Keras file"),
        (b"\x1c\0\0\0TFL3rest", "a TensorFlow Lite model"),
        (b'node { name: "a" op: "Const" }\n', "a graph as text"),
        # a SavedModel: its first field is a number
        (b"\x08\x01", "it has no nodes"),
    ],
)
def test_another_kind_of_file_is_recognised(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "g.pb"
    path.write_bytes(content)
    with pytest.raises(graph.GraphError, match=message) as caught:
        graph.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(graph.GraphError, match="can't read it: No such file"):
        graph.read(tmp_path / "g.pb")
