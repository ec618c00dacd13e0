"""Every known architecture converts, and OpenCV computes the same from the caffemodel."""

from pathlib import Path

import pytest

from convert.conversion import convert_file
from convert.options import Options
from convert.report import Status
from tests.convert.zoo import classification, dense, detection, sequences

NETWORKS = dict(
    pair for family in (classification, detection, dense, sequences) for pair in family.networks()
)


OPENCV_LACKS = {"segnet-basic", "pspnet", "style-transfer"}
"""Their layers (pooling masks, BN, MVN's formula) are verified by the NumPy reference alone."""


def test_the_zoo_has_at_least_eighty_architectures() -> None:
    assert len(NETWORKS) - len(OPENCV_LACKS) >= 80
    assert len(set(NETWORKS.values())) == len(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_architecture_converts_and_agrees_with_its_reference(name: str, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is the reference (extra verify)")
    prototxt = tmp_path / "deploy.prototxt"
    prototxt.write_text(NETWORKS[name])
    report = convert_file(prototxt, None, tmp_path / "out.onnx", Options(simulated_weights=1))
    verification = report.verification
    assert verification.status is Status.VERIFIED, verification
    assert verification.comparisons
    by_opencv = any(reference.startswith("OpenCV") for reference in verification.references)
    assert by_opencv == (name not in OPENCV_LACKS)
