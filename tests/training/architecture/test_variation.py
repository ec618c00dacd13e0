from dataclasses import replace
from pathlib import Path

import pytest

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import NetParameter
from training.architecture import networks, variation
from training.architecture.__main__ import main
from training.architecture.family import MOD2, Architecture, Block


def steps(architecture: Architecture) -> list[float]:
    layers = networks.deploy(architecture).layer
    return [each.prior_box_param.step for each in layers if each.type == "PriorBox"]


def test_an_expansion_is_that_of_every_block() -> None:
    varied = variation.expanded(MOD2, 6)
    assert {block.expansion for block in varied.blocks} == {6}
    assert replace(varied, blocks=MOD2.blocks) == MOD2


def test_expanded_by_6_mod2_has_the_widths_of_mobilenet_v2() -> None:
    """Table 2 of arXiv:1801.04381: what TensorFlow's detection zoo has too."""
    table = [(24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)]
    varied = variation.expanded(MOD2, 6)
    assert (varied.stem, varied.first_width, varied.last_width) == (32, 16, 1280)
    assert [(block.width, block.expansion) for block in varied.blocks] == [
        (width, 6) for width, repeat in table for _ in range(repeat)
    ]


def test_priors_lie_as_far_apart_as_the_strides_put_their_features() -> None:
    assert steps(MOD2) == [8, 16, 32, 64, 128]
    strides = [block.stride for block in MOD2.blocks]
    first = strides.index(2)
    dense = variation.strided(MOD2, (*strides[:first], 1, *strides[first + 1 :]))
    assert steps(dense) == [4, 8, 16, 32, 64]
    last = len(strides) - strides[::-1].index(2) - 1
    late = variation.strided(MOD2, (*strides[:last], 1, *strides[last + 1 :]))
    # The finest head sits before the last stride.
    assert steps(late) == [8, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("multiplier", "widths"),
    [
        (0.5, (16, 8, 16)),
        (0.75, (24, 16, 24)),
        (0.8, (24, 16, 24)),
        (1, (24, 16, 24)),
        (0.01, (8, 8, 8)),
    ],
)
def test_widths_are_multiplied_in_eights(multiplier: float, widths: tuple[int, ...]) -> None:
    """12 lies half way between two eights; 18 and 19.2 would lose more than a tenth at 16."""
    small = replace(MOD2, stem=24, first_width=16, blocks=(Block(24),))
    varied = variation.widened(small, multiplier)
    assert (varied.stem, varied.first_width, varied.blocks[0].width) == widths


def test_a_multiplier_of_one_changes_nothing() -> None:
    assert variation.widened(MOD2, 1) == MOD2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--expansion", "0"], "an expansion lies between 1 and 100"),
        (["--expansion", "1000000000"], "an expansion lies between 1 and 100"),
        (["--strides", "2,1"], "needs 16 strides of 1 or 2, one for each block; now 2,1,1,1,1,2"),
        (["--strides", ",".join(["3"] * 16)], "needs 16 strides of 1 or 2"),
        (["--width-multiplier", "nan"], "between 0.01 and 100"),
    ],
)
def test_a_variation_that_makes_no_network_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert main(["--out", str(tmp_path / "new"), *options]) == 1
    assert says in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_command_joins_variations(tmp_path: Path) -> None:
    strides = ",".join(str(block.stride) for block in MOD2.blocks)
    options = ["--expansion", "2", "--strides", strides, "--width-multiplier", "0.5"]
    assert main(["--out", str(tmp_path), *options]) == 0
    net = prototxt.read(tmp_path / "deploy.prototxt", NetParameter).message
    expected = networks.deploy(variation.widened(variation.expanded(MOD2, 2), 0.5))
    assert net == expected


def test_what_is_no_list_of_strides_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--out", str(tmp_path), "--strides", "wide"])
    assert stopped.value.code == 2
