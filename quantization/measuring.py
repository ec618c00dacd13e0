"""The accuracy of an int8 file, and its speed, both beside those of the float32 file."""

import dataclasses
import statistics
import time
from pathlib import Path

from detection.agreement import measure
from detection.cpu import available_cpus
from detection.precision import processor_name
from detection.predictions import Predictions
from detection.providers import ProviderName, Use
from detection.session import INPUT, Session, open_file, open_session
from quantization.images import Images, Progress, inputs
from sfd.files import scratch
from store.int8 import Agreement, Speed
from store.model import INT8_FILE, Model, ModelError

RUNS = 10
"""Inferences of each file, to measure its speed."""


def measured(
    model: Model, images: Images, content: bytes, progress: Progress
) -> tuple[Agreement, Speed]:
    """What the int8 file of this content costs, on the images that were held back.

    Raises ModelError if the float32 file finds no face in them.
    """
    threads = available_cpus()
    reference = open_session(model, ProviderName.CPU, threads, 1)
    with scratch("quantize") as folder:
        file = Path(folder) / INT8_FILE
        file.write_bytes(content)
        opened = open_file(file, ProviderName.CPU, Use(INPUT, "", 1, threads))
        quantized = dataclasses.replace(reference, onnx=opened)
    expected: list[Predictions] = []
    found: list[Predictions] = []
    for image in inputs(model, images.held_back, images.max_pixels, progress):
        expected += reference.run([image])
        found += quantized.run([image])
    agreement = measure(model, expected, found)
    if agreement is None:
        raise ModelError(
            f"{model.name}: no face in the {len(images.held_back)} images that were held back to "
            "measure the accuracy; give photographs of faces"
        )
    progress("measures the speed")
    return agreement, _speed(reference, quantized, threads)


def _speed(reference: Session, quantized: Session, threads: int) -> Speed:
    """The medians of inferences that alternate, so that a busy machine slows both alike."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for session, measured in zip((reference, quantized), seconds, strict=True):
            started = time.perf_counter()
            session.run_blank(1)
            measured.append(time.perf_counter() - started)
    float32_ms, int8_ms = (statistics.median(each) * 1000 for each in seconds)
    return Speed(
        float32_ms=round(float32_ms, 2),
        int8_ms=round(int8_ms, 2),
        ratio=round(float32_ms / int8_ms, 2),
        threads=threads,
        processor=processor_name(),
    )
