"""Layers that mix images or have no operator are refused, with the reason."""

from collections.abc import Callable

import pytest

from convert.layers.filter import REASONS
from geometry.arrays import F32

Images = Callable[..., F32]
Problems = Callable[..., list[str]]


@pytest.mark.parametrize("kind", REASONS)
def test_the_reason_is_reported(problems: Problems, images: Images, kind: str) -> None:
    text = f'layer {{ name: "new" type: "{kind}" bottom: "data" top: "new" }}'
    (found,) = problems(text, images(3, 4, 4))
    assert found == f"layers of type {kind} can't be converted: {REASONS[kind]}"
