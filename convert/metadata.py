"""The metadata of an ONNX file: `metadata_props` with the prefix `sfd.`."""

import json
from collections.abc import Mapping

import numpy as np

from convert.outputs.kinds import Built
from convert.report import Verification
from sfd.distribution import VERSION
from sfd.errors import UsageError

FACE = ("face",)


def class_names(built: Built, given: tuple[str, ...] | None) -> tuple[str, ...]:
    """The foreground class names: as given, or `face` for a single class, or `class LABEL`."""
    labels = built.heads.detection.labels if built.heads else ()
    if given is None:
        return FACE if len(labels) == 1 else tuple(f"class {label}" for label in labels)
    if built.heads and len(given) != len(labels):
        raise UsageError(
            f"--class-names has {len(given)} names, but the network has {len(labels)} classes "
            "besides the background"
        )
    return given


def metadata(
    built: Built,
    name: str,
    names: tuple[str, ...],
    sources: Mapping[str, str],
    verification: Verification,
    simulated_weights: int | None = None,
) -> dict[str, str]:
    """All metadata properties. They hold no times and no paths, so equal sources give equal files.

    Lists of words are JSON, lists of numbers are comma-separated. A property without a value is
    left out.
    """
    properties = {
        "name": name,
        "output": str(built.kind),
        "prototxt_sha256": sources["prototxt"],
        "caffemodel_sha256": sources["caffemodel"],
        "converter_version": VERSION,
        "verification": str(verification),
    }
    if verification.references:
        # Without versions, so that equal sources give equal files.
        kinds = (name.partition(" ")[0].lower() for name in verification.references)
        properties["verified_by"] = ",".join(kinds)
    image = next((shape for shape in built.network.inputs.values() if len(shape) == 4), None)
    if image:
        _, channels, height, width = image
        properties |= {"input_size": f"{height}x{width}", "channels": str(channels)}
    if simulated_weights is not None:
        properties["weights"] = f"simulated with seed {simulated_weights}"
    if built.preprocessing:
        properties |= {
            "channel_order": str(built.preprocessing.channel_order),
            "mean": ",".join(map(_number, built.preprocessing.mean)),
            "scale": _number(built.preprocessing.scale),
        }
    if names:
        properties["class_names"] = json.dumps(names, ensure_ascii=False)
    if built.heads:
        detection = built.heads.detection
        properties |= {
            "nms_threshold": _number(detection.nms_threshold),
            "top_k": str(detection.top_k),
            "keep_top_k": str(detection.keep_top_k),
        }
        if detection.default_score is not None:
            properties["default_score"] = _number(detection.default_score)
    return {f"sfd.{key}": value for key, value in sorted(properties.items())}


def _number(value: float) -> str:
    """The shortest decimal that parses to the same float32: 0.3 for 0.300000011921."""
    return np.format_float_positional(np.float32(value), trim="-")
