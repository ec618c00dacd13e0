"""Makes `model.int8.onnx`, and its record in `build.json`."""

import dataclasses
import hashlib

from convert.quantization import METHOD, quantize
from detection.precision import Precision, lacking, processor_features
from quantization.images import Images, Progress, inputs
from quantization.measuring import measured
from sfd.files import write_atomically
from store.build import write
from store.int8 import Calibration, Int8
from store.model import Model, ModelError, check


def make(
    model: Model, images: Images, *, force: bool = False, progress: Progress = lambda _: None
) -> Int8:
    """Write `model.int8.onnx`, and in `build.json` what it was made from and what it costs.

    Each file is written whole or not at all. If the process dies between the two, `sfd models
    verify` reports that they don't match. Raises ModelError if the model is not built, has an int8
    file already, or finds no face to compare; and SfdError for an image that can't be read, or a
    processor on which an int8 file gives other results.
    """
    build = check(model)
    if model.int8.exists() and not force:
        raise ModelError(f"{model.int8} already exists; add --force to overwrite it")
    reason = lacking(Precision.INT8, processor_features())
    if reason is not None:
        raise ModelError(f"{model.name}: can't be measured here: {reason}")
    content = quantize(model.onnx, inputs(model, images.calibrating, images.max_pixels, progress))
    progress("quantizes")
    agreement, speed = measured(model, images, content, progress)
    made = Int8(
        sha256=hashlib.sha256(content).hexdigest(),
        source=build.sha256,
        calibration=Calibration(len(images.calibrating), images.sha256, METHOD),
        agreement=agreement,
        speed=speed,
    )
    write_atomically(model.int8, content)
    write(model, dataclasses.replace(build, int8=made))
    return made
