"""Variations of an architecture: other expansion, strides or widths."""

from dataclasses import replace

from sfd.errors import SfdError
from training.architecture.family import Architecture, Extra

DIVISOR = 8
"""All widths are multiples of it, as in MobileNet's published code."""


class VariationError(SfdError):
    """A variation that does not make a network."""


def expanded(architecture: Architecture, expansion: int) -> Architecture:
    """Every block with this expansion."""
    if not 1 <= expansion <= 100:
        raise VariationError("--expansion must be from 1 to 100")
    blocks = tuple(replace(block, expansion=expansion) for block in architecture.blocks)
    return replace(architecture, blocks=blocks)


def strided(architecture: Architecture, strides: tuple[int, ...]) -> Architecture:
    """The blocks conv_1, conv_2, … with these strides; the steps of the priors follow."""
    if len(strides) != len(architecture.blocks) or not set(strides) <= {1, 2}:
        raise VariationError(
            f"--strides needs {len(architecture.blocks)} strides of 1 or 2, one for each block; "
            f"the architecture has {','.join(str(block.stride) for block in architecture.blocks)}"
        )
    pairs = zip(architecture.blocks, strides, strict=True)
    return replace(architecture, blocks=tuple(replace(block, stride=each) for block, each in pairs))


def widened(architecture: Architecture, multiplier: float) -> Architecture:
    """All widths times `multiplier`: MobileNet's width multiplier (arXiv:1704.04861, 3.3).

    Widths are rounded to the nearest multiple, but never down by more than a tenth, as in
    `make_divisible` of TensorFlow's slim/nets/mobilenet/conv_blocks.py.
    """
    if not 0.01 <= multiplier <= 100:
        raise VariationError("--width-multiplier must be from 0.01 to 100")

    def width(channels: int) -> int:
        exact = channels * multiplier
        rounded = max(DIVISOR, int(exact + DIVISOR / 2) // DIVISOR * DIVISOR)
        return rounded + DIVISOR if rounded < 0.9 * exact else rounded

    return replace(
        architecture,
        stem=width(architecture.stem),
        first_width=width(architecture.first_width),
        blocks=tuple(replace(block, width=width(block.width)) for block in architecture.blocks),
        last_width=width(architecture.last_width),
        extras=tuple(
            Extra(width(extra.squeeze), width(extra.width)) for extra in architecture.extras
        ),
    )
