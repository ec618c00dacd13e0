"""Python layers are refused, with what usually stands in their place."""

from collections.abc import Callable

import pytest

from convert.layers.python import advice
from geometry.arrays import F32


def layer(parameter: str, bottoms: str = 'bottom: "data"') -> str:
    return f"""layer {{ name: "p" type: "Python" {bottoms} top: "p"
                        python_param {{ {parameter} }} }}"""


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("rpn.proposal_layer", "ProposalLayer", 'type: "Proposal"'),
        ("rpn.anchor_target_layer", "AnchorTargetLayer", "take the deploy or test prototxt"),
        ("rpn.proposal_target_layer", "ProposalTargetLayer", "take the deploy or test prototxt"),
        ("roi_data_layer.layer", "RoIDataLayer", "declare an Input"),
        ("voc_layers", "VOCSegDataLayer", "declare an Input"),
        ("pyloss", "EuclideanLossLayer", "remove it"),
        ("tools.crop", "CropToLike", 'type: "Crop"'),
        ("mine", "Thing", "run its code on the outputs"),
    ],
)
def test_the_message_says_what_usually_replaces_it(
    problems: Callable[..., list[str]],
    images: Callable[..., F32],
    module: str,
    name: str,
    message: str,
) -> None:
    text = layer(f'module: "{module}" layer: "{name}" param_str: "{{}}"')
    (found,) = problems(text, images(3, 4, 4))
    assert found.startswith(f"{module}.{name}: it runs a Python class that the prototxt")
    assert message in found
    assert "\n" not in found


def test_without_a_name_it_is_refused_too(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    (found,) = problems(layer(""), images(3, 4, 4))
    assert found.startswith("a Python layer can't be converted")


def test_it_is_reported_after_another_failure_too(
    problems: Callable[..., list[str]], images: Callable[..., F32]
) -> None:
    text = 'layer { name: "q" type: "Axpyy" bottom: "data" top: "q" }'
    text += layer('module: "m" layer: "L"', 'bottom: "q"')
    found = problems(text, images(3, 4, 4))
    assert len(found) == 2
    assert "m.L" in found[1]


def test_advice_goes_by_the_class_before_the_module() -> None:
    assert "Proposal" in advice("loss_of_mine", "ProposalLayer")
