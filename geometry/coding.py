"""Encodes boxes relative to prior boxes, and decodes them: SSD's three code types.

With a prior p = (x1, y1, x2, y2), w = x2 - x1, h = y2 - y1, variances v, and a code t
(`DecodeBBox` and `EncodeBBox` in `src/caffe/util/bbox_util.cpp` of github.com/weiliu89/caffe):

- CORNER: box = p + v * t
- CENTER_SIZE: centre = centre of p + v[:2] * t[:2] * (w, h); size = exp(v[2:] * t[2:]) * (w, h)
- CORNER_SIZE: box = p + v * t * (w, h, w, h)

If the variance is encoded in the target, v is 1.
"""

from enum import StrEnum

import numpy as np

from geometry.arrays import Floats


class CodeType(StrEnum):
    """How a code describes a box; the names are those of Caffe's `PriorBoxParameter.CodeType`."""

    CORNER = "CORNER"
    CENTER_SIZE = "CENTER_SIZE"
    CORNER_SIZE = "CORNER_SIZE"


def decode(
    codes: Floats,
    priors: Floats,
    variances: Floats,
    code_type: CodeType = CodeType.CENTER_SIZE,
    variance_encoded_in_target: bool = False,
) -> Floats:
    """Boxes [..., P, 4] as x1, y1, x2, y2 for `codes` [..., P, 4].

    `priors` and `variances` are [P, 4]; the boxes are in the unit of the priors, not clipped.
    """
    scaled = codes if variance_encoded_in_target else codes * variances
    sides = priors[:, 2:] - priors[:, :2]
    match code_type:
        case CodeType.CORNER:
            return np.asarray(priors + scaled)
        case CodeType.CORNER_SIZE:
            return np.asarray(priors + scaled * np.concatenate([sides, sides], axis=-1))
        case CodeType.CENTER_SIZE:
            centres = scaled[..., :2] * sides + (priors[:, :2] + priors[:, 2:]) / 2
            # Untrained weights overflow here, as in Caffe: the box is infinite, not an error.
            with np.errstate(over="ignore", invalid="ignore"):
                half = np.exp(scaled[..., 2:]) * sides / 2
                return np.concatenate([centres - half, centres + half], axis=-1)


def encode(
    boxes: Floats,
    priors: Floats,
    variances: Floats,
    code_type: CodeType = CodeType.CENTER_SIZE,
    variance_encoded_in_target: bool = False,
) -> Floats:
    """Codes [..., P, 4] that `decode` turns back into `boxes` [..., P, 4].

    Priors need a positive size, and with CENTER_SIZE the boxes too. Otherwise the codes are
    infinite.
    """
    sides = priors[:, 2:] - priors[:, :2]
    match code_type:
        case CodeType.CORNER:
            codes = boxes - priors
        case CodeType.CORNER_SIZE:
            codes = (boxes - priors) / np.concatenate([sides, sides], axis=-1)
        case CodeType.CENTER_SIZE:
            centres = (boxes[..., :2] + boxes[..., 2:]) / 2
            shift = (centres - (priors[:, :2] + priors[:, 2:]) / 2) / sides
            growth = np.log((boxes[..., 2:] - boxes[..., :2]) / sides)
            codes = np.concatenate([shift, growth], axis=-1)
    return np.asarray(codes if variance_encoded_in_target else codes / variances)
