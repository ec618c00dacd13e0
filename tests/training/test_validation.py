"""Average precisions against Caffe's `ComputeAP`, worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from convert.caffe import network as caffe
from convert.caffe.network import CaffeError

pytest.importorskip("torch", reason="training needs torch (extra train)")

from training import solver
from training.evaluation.curves import Detections, precision_recall
from training.validation import AREAS, Validation


@pytest.mark.parametrize(
    ("version", "area"),
    [
        # Precision is 1 up to a recall of 3/10 inclusive, and 2/3 up to 4/10.
        ("11point", (4 * 1.0 + 1 * 4 / 6) / 11),
        ("MaxIntegral", 0.3 * 1.0 + 0.1 * 4 / 6),
        # Each step of recall is multiplied by the precision after it.
        ("Integral", 0.1 + 0.1 + 0.1 + 0.1 * 4 / 6),
    ],
)
def test_each_ap_version_equals_caffes(version: str, area: float) -> None:
    faces = np.asarray([[x, 0, x + 1, 1] for x in range(10)], np.float64)
    nowhere = np.asarray([[0, 5, 1, 6], [0, 7, 1, 8]], np.float64)
    boxes = np.concatenate([faces[:3], nowhere, faces[3:4]])
    found = Detections(boxes, np.asarray([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]))
    assert AREAS[version](precision_recall([found], [faces])) == pytest.approx(area)


def test_a_solver_accepts_exactly_the_ap_versions_that_exist() -> None:
    assert set(AREAS) == solver.AP_VERSIONS


def changed(tiny: Path, folder: Path, before: str, after: str) -> Validation:
    text = (tiny / "test.prototxt").read_text()
    assert before in text
    path = folder / "test.prototxt"
    path.write_text(text.replace(before, after, 1))
    return Validation.of_network(caffe.load(path, None), "MaxIntegral")


def test_the_settings_of_a_test_prototxt_are_used(tiny: Path, tmp_path: Path) -> None:
    plain = Validation.of_network(caffe.load(tiny / "test.prototxt", None), "MaxIntegral")
    assert (plain.overlap, plain.variance_encoded) == (0.5, False)
    strict = changed(tiny, tmp_path, "overlap_threshold: 0.5", "overlap_threshold: 0.75")
    assert strict.overlap == pytest.approx(0.75)
    encoded = "detection_output_param { variance_encoded_in_target: true"
    assert changed(tiny, tmp_path, "detection_output_param {", encoded).variance_encoded
    assert changed(tiny, tmp_path, "batch_size: 2", "batch_size: 3").batch == 3


def test_unsupported_settings_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(CaffeError, match="eta"):
        changed(tiny, tmp_path, "nms_param {", "nms_param { eta: 0.9")
