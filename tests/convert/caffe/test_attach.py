from collections.abc import Sequence

import numpy as np
import pytest

from convert.caffe import prototxt
from convert.caffe.attach import attach
from convert.caffe.caffe_pb2 import NetParameter
from convert.caffe.diagnostics import Diagnostic
from convert.caffe.legacy import entries
from convert.caffe.weights import Blobs, LayerWeights, Weights


def stored(**layers: Sequence[object]) -> Weights:
    return Weights(
        "net",
        tuple(
            LayerWeights(name, "", tuple(np.array(blob, np.float32) for blob in given))
            for name, given in layers.items()
        ),
    )


def run(text: str, weights: Weights | None) -> tuple[list[Blobs], list[str], list[str]]:
    found, warnings, problems = attach(entries(prototxt.parse(text, NetParameter))[0], weights)
    return found, [str(problem) for problem in warnings], [str(problem) for problem in problems]


CONV = 'layer { name: "%s" type: "Convolution" %s }\n'
SHARED = 'param { name: "w" } param { name: "b" }'


def test_blobs_go_to_the_layer_of_their_name() -> None:
    found, warnings, problems = run(CONV % ("a", ""), stored(a=[[1, 2], [3]]))
    assert [blob.tolist() for blob in found[0]] == [[1, 2], [3]]
    assert warnings == problems == []


def test_weights_may_lack_layers() -> None:
    found, _, problems = run(CONV % ("a", "") + CONV % ("b", ""), stored(b=[[1]]))
    assert ([len(blobs) for blobs in found], problems) == ([0, 1], [])


def test_without_a_weights_file_nothing_is_missing() -> None:
    assert run(CONV % ("a", ""), None) == ([()], [], [])


def test_extra_weights_are_one_warning() -> None:
    _, warnings, _ = run(CONV % ("a", ""), stored(a=[[1]], b=[[1]], c=[[1]]))
    assert warnings == [
        "the weights of 2 layers are not used, because the prototxt has no such layers: b, c"
    ]
    many = stored(a=[[1]], **{f"x{index}": [[1]] for index in range(40)})
    assert run(CONV % ("a", ""), many)[1][0].endswith("x8, x9, …")


def test_bad_blobs_are_a_problem_only_where_they_are_used() -> None:
    bad = LayerWeights("a", "", (), (Diagnostic("blob 0: bad", layer="a"),))
    _, _, problems = run(CONV % ("a", ""), Weights("n", (bad,)))
    assert problems == ["line 1, layer a: blob 0: bad"]
    other = stored(b=[[1]])
    _, _, problems = run(CONV % ("b", ""), Weights("n", (*other.layers, bad)))
    assert problems == []


def test_layers_that_share_parameters_get_the_last_copy_of_the_file() -> None:
    text = CONV % ("a", SHARED) + CONV % ("b", SHARED)
    found, warnings, problems = run(text, stored(b=[[1, 2], [3]], a=[[4, 5], [3]]))
    assert [[blob.tolist() for blob in blobs] for blobs in found] == [[[4, 5], [3]]] * 2
    assert warnings == [
        "line 2, layer b: shares w, but has other values in the file, which are not used"
    ]
    assert problems == []


def test_a_layer_that_shares_all_its_parameters_needs_no_copy_of_its_own() -> None:
    text = CONV % ("a", SHARED) + CONV % ("b", SHARED)
    for owner in ("a", "b"):
        found, warnings, problems = run(text, stored(**{owner: [[1, 2], [3]]}))
        assert [[blob.tolist() for blob in blobs] for blobs in found] == [[[1, 2], [3]]] * 2
        assert warnings == problems == []


def test_shared_parameters_keep_each_layers_shape() -> None:
    text = CONV % ("a", SHARED) + CONV % ("b", SHARED)
    weights = stored(a=[[[1, 2]], [3]], b=[[1, 2], [3]])
    found, _, problems = run(text, weights)
    assert [blobs[0].shape for blobs in found] == [(1, 2), (2,)]
    assert problems == []


@pytest.mark.parametrize(
    ("second", "weights", "message"),
    [
        (SHARED, stored(a=[[1, 2], [3]], b=[[1], [3]]), "but its own blob has"),
        ('param { } param { name: "b" }', stored(a=[[1, 2], [3]]), "has only 0 blobs"),
    ],
)
def test_sharing_that_does_not_fit_is_a_problem(
    second: str, weights: Weights, message: str
) -> None:
    _, _, problems = run(CONV % ("a", SHARED) + CONV % ("b", second), weights)
    assert message in problems[0]


def test_a_name_that_only_one_layer_uses_shares_nothing() -> None:
    found, warnings, problems = run(CONV % ("a", SHARED), stored(a=[[1]]))
    assert [blob.tolist() for blob in found[0]] == [[1]]
    assert warnings == problems == []


def test_weights_written_in_the_prototxt_count() -> None:
    blobs = "blobs { shape { dim: 2 } data: [1, 2] } blobs { shape { dim: 3 } data: 1 }"
    found, _, problems = run(CONV % ("a", blobs), None)
    assert found[0][0].tolist() == [1, 2]
    assert problems == [
        "line 1, layer a: blob 1 of the prototxt: it has 1 values where its shape 3 has 3"
    ]
