from dataclasses import replace

import pytest

from training.architecture import networks, variation
from training.architecture.family import MOD2, Architecture, Block


def steps(architecture: Architecture) -> list[float]:
    layers = networks.deploy(architecture).layer
    return [each.prior_box_param.step for each in layers if each.type == "PriorBox"]


def test_an_expansion_applies_to_every_block() -> None:
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


def test_the_steps_of_the_priors_follow_the_strides() -> None:
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
def test_widths_are_rounded_to_multiples_of_8(multiplier: float, widths: tuple[int, ...]) -> None:
    """12 lies half way between two eights; 18 and 19.2 would lose more than a tenth at 16."""
    small = replace(MOD2, stem=24, first_width=16, blocks=(Block(24),))
    varied = variation.widened(small, multiplier)
    assert (varied.stem, varied.first_width, varied.blocks[0].width) == widths


def test_a_multiplier_of_one_changes_nothing() -> None:
    assert variation.widened(MOD2, 1) == MOD2
