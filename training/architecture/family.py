"""The architectures of the family, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """An inverted residual block of MobileNetV2: expand 1×1, depthwise 3×3, project 1×1 linearly.

    Its input is added to its output if both have the same shape.
    """

    width: int
    """Output channels of the block."""
    stride: int = 1
    expansion: int = 3
    """Channels of the depthwise convolution, as a multiple of the block's input channels."""


@dataclass(frozen=True)
class Extra:
    """A feature layer after the backbone: a 1×1 squeeze, then a separable 3×3 with stride 2."""

    squeeze: int
    width: int


@dataclass(frozen=True)
class Head:
    """A head: predicts faces of some sizes, with one square prior for each size and position."""

    feature: str
    """The top that the head reads. The names of the head's layers start with its name."""
    sizes: tuple[float, ...]
    """Sides of the priors, in pixels of the input."""


def stage(
    width: int, repeat: int, *, stride: int = 1, expansion: int = 3, entry: int | None = None
) -> tuple[Block, ...]:
    """`repeat` blocks of one width. Only the first has the stride and the expansion `entry`."""
    first = Block(width, stride, expansion if entry is None else entry)
    return (first, *[Block(width, 1, expansion)] * (repeat - 1))


def heads(fine: str) -> tuple[Head, ...]:
    """The published heads: two small sizes on `fine`, then one size for each coarser feature."""
    return (
        Head(fine, (16, 32)),
        Head("Conv_1", (64,)),
        Head("layer_19_2_2", (128,)),
        Head("layer_19_2_3", (256,)),
        Head("layer_19_2_4", (512,)),
    )


@dataclass(frozen=True)
class Architecture:
    """One detector of the family. The default is mod2 at 640×640, this project's own."""

    name: str = "MobileNetv2-SSD"
    height: int = 640
    width: int = 640
    mean: tuple[float, float, float] = (104, 117, 123)
    """Blue, green and red, which Caffe subtracts from the pixels."""
    stem: int = 32
    """Channels of the first convolution, at half the resolution."""
    second_stem: bool = False
    """Whether a 3×3 convolution `Conv_a` follows the first (mod11)."""
    first_width: int = 16
    """Channels of the first, unexpanded block."""
    blocks: tuple[Block, ...] = (
        *stage(24, 2, stride=2),
        *stage(32, 3),
        *stage(64, 4, stride=2),
        *stage(96, 3),
        *stage(160, 3, stride=2),
        *stage(320, 1),
    )
    """`conv_1`, `conv_2`, …"""
    last_width: int = 1280
    """Channels of `Conv_1`, the last layer of the backbone."""
    extras: tuple[Extra, ...] = (Extra(256, 512), Extra(128, 256), Extra(128, 256))
    """`layer_19_2_2`, `layer_19_2_3`, …"""
    heads: tuple[Head, ...] = heads("conv_13/expand_")
    suffix: str = "_"
    """The end of the heads' names. With a new suffix, fine-tuning starts with new heads."""
    batch_norm: bool = True
    """If off, convolutions have biases instead, as after merging BatchNorm into them."""
    head_bias_stated: bool = False
    """Whether the heads state `bias_term: true`, Caffe's default, as the merged files do."""


MOD2 = Architecture()


def mod5(*, suffix: str = "-_", batch_norm: bool = True) -> Architecture:
    """The published mod5 at 320×320, with BatchNorm layers or merged."""
    return Architecture(
        height=320,
        width=320,
        stem=48,
        first_width=48,
        blocks=(
            *stage(48, 5, stride=2, expansion=2, entry=4),
            *stage(96, 7, stride=2, expansion=2, entry=4),
            *stage(128, 4, stride=2, expansion=2, entry=4),
        ),
        last_width=256,
        extras=(Extra(128, 256), Extra(128, 256), Extra(128, 256)),
        suffix=suffix,
        batch_norm=batch_norm,
        head_bias_stated=not batch_norm,
    )


def mod11(
    stem: int, widths: tuple[int, int, int], last_width: int, extras: tuple[Extra, Extra, Extra]
) -> Architecture:
    """The published mod11 at 320×320. Its variants l, e and g differ only in their widths."""
    early, middle, late = widths
    return Architecture(
        height=320,
        width=320,
        stem=stem,
        second_stem=True,
        first_width=stem,
        blocks=(
            *stage(early, 4, stride=2, expansion=2),
            *stage(middle, 5, stride=2, expansion=2),
            *stage(late, 7, stride=2, expansion=2),
        ),
        last_width=last_width,
        extras=extras,
        heads=heads("conv_10/expand_"),
        suffix="-_",
    )


MOD11L = mod11(24, (48, 72, 128), 256, (Extra(128, 256), Extra(128, 256), Extra(128, 256)))
MOD11E = mod11(8, (16, 36, 64), 96, (Extra(48, 96), Extra(80, 160), Extra(80, 160)))
MOD11G = mod11(4, (8, 16, 32), 64, (Extra(42, 85), Extra(56, 113), Extra(70, 141)))

PUBLISHED = {
    "mod2": MOD2,
    "mod5": mod5(),
    "mod5-nobn": mod5(batch_norm=False),
    "mod11l": MOD11L,
    "mod11e": MOD11E,
    "mod11g": MOD11G,
}
"""The architectures of github.com/bonseyes/SFD that can be written, by their names there."""
