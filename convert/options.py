"""What the caller of a conversion may choose."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from convert.outputs.kinds import Kind
from convert.outputs.preprocessing import ChannelOrder
from sfd.errors import UsageError
from sfd.terminal import is_utf8

Choice = TypeVar("Choice", Kind, ChannelOrder)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a conversion. None stands for the prototxt's value, or Caffe's default."""

    output: Kind | None = None
    input_size: tuple[int, int] | None = None
    """Height and width."""
    channel_order: ChannelOrder | None = None
    mean: tuple[float, ...] | None = None
    """In the network's channel order; one value, or one for each channel."""
    scale: float = 1.0
    name: str | None = None
    class_names: tuple[str, ...] | None = None
    verify: bool = True
    prune: bool = True
    """Whether channels that change no output are removed."""
    merge: bool = True
    """Whether convolutions that read one value through the same window become one."""
    widen: bool = True
    """Whether convolutions with few outputs become a wide 1x1 convolution and a sum."""
    partition: bool = False
    """Whether wide values are computed in parts, for runtimes on a CPU."""
    fixed_batch: bool = False
    """Whether the file takes one image at a time, for networks that mix the images of a batch."""
    stages: tuple[str, ...] = ()
    """The stages whose layers are part of the network, as the `include` rules name them."""
    level: int | None = None
    """The level that the layers' rules compare with."""
    simulated_weights: int | None = None
    """A seed for random weights instead of a caffemodel."""


DEFAULTS = Options()


def checked(options: Options) -> Options:
    """The options, of which Python code may give a choice by its name. Raises UsageError."""
    if options.name is not None:
        if not options.name.strip():
            raise UsageError("--name is empty")
        _check_text("--name", options.name)
    for each in options.class_names or ():
        if not each.strip():
            raise UsageError("--class-names has an empty name")
        _check_text("--class-names", each)
    return replace(
        options,
        output=_choice("output", options.output, Kind),
        channel_order=_choice("channel order", options.channel_order, ChannelOrder),
        mean=_mean(options.mean),
    )


def _choice(what: str, given: Choice | None, choices: type[Choice]) -> Choice | None:
    if given is not None and given not in list(choices):
        raise UsageError(f"{what} {given!r} is not one of {', '.join(choices)}")
    return None if given is None else choices(given)


def _mean(given: Sequence[float] | None) -> tuple[float, ...] | None:
    try:
        return None if given is None else tuple(value + 0.0 for value in given)
    except TypeError:
        raise UsageError(f"mean {given!r} is not a tuple of numbers, such as (127.5,)") from None


def _check_text(option: str, text: str) -> None:
    """Refuse bytes that are not UTF-8, which the metadata can't hold."""
    if not is_utf8(text):
        raise UsageError(f"{option} {text!r} is not UTF-8")
