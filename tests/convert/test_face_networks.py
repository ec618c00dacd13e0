"""Networks built as the Ultra-Light and RetinaFace detectors, which write batch 1 in Reshape."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from convert.caffe import weights
from convert.conversion import convert_file
from convert.options import Options
from convert.outputs.kinds import Kind
from convert.report import Status
from geometry.arrays import F32

Run = Callable[[Path, NDArray[np.generic]], dict[str, F32]]


class Prototxt:
    """A prototxt under construction with random weights for its layers."""

    def __init__(self, name: str, height: int, width: int) -> None:
        self.text = (
            f'name: "{name}"\ninput: "data"\n'
            f"input_shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }}\n"
        )
        self.blobs: dict[str, list[F32]] = {}
        self.channels = {"data": 3}
        self._random = np.random.default_rng(17)

    def layer(self, kind: str, name: str, bottoms: str, parameter: str = "") -> str:
        """Add a layer with one top of its own name; `bottoms` are separated by spaces."""
        names = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
        self.text += (
            f'layer {{ name: "{name}" type: "{kind}" {names} top: "{name}" {parameter} }}\n'
        )
        self.channels.setdefault(name, self.channels[bottoms.split()[0]])
        return name

    def conv(
        self,
        name: str,
        bottom: str,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        dilation: int = 1,
        depthwise: bool = False,
    ) -> str:
        """A convolution that keeps the size but for its stride."""
        inputs = self.channels[bottom]
        group = inputs if depthwise else 1
        self.channels[name] = outputs
        scale = np.sqrt(2 / (inputs // group * kernel**2)) * (0.02 if bottom == "data" else 1)
        shape = (outputs, inputs // group, kernel, kernel)
        weight = self._random.normal(0, scale, shape)
        bias = self._random.normal(0, 0.1, outputs)
        self.blobs[name] = [weight.astype(np.float32), bias.astype(np.float32)]
        return self.layer(
            "Convolution",
            name,
            bottom,
            f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} stride: {stride} "
            f"pad: {dilation * (kernel // 2)} dilation: {dilation} group: {group} }}",
        )

    def conv_relu(self, name: str, bottom: str, outputs: int, kernel: int = 3, **more: int) -> str:
        """A convolution and a ReLU."""
        made = self.conv(name, bottom, outputs, kernel, more.get("stride", 1),
                         dilation=more.get("dilation", 1))  # fmt: skip
        return self.layer("ReLU", f"{name}_relu", made)

    def separable(self, name: str, bottom: str, outputs: int, stride: int = 1) -> str:
        """A depthwise convolution and a pointwise one, each with a ReLU."""
        deep = self.conv(f"{name}_dw", bottom, self.channels[bottom], 3, stride, depthwise=True)
        return self.conv_relu(f"{name}_pw", self.layer("ReLU", f"{name}_dw_relu", deep), outputs, 1)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """The files of the network."""
        paths = folder / "deploy.prototxt", folder / "weights.caffemodel"
        paths[0].write_text(self.text)
        weights.write(paths[1], "net", self.blobs)
        return paths


def ultra_light() -> Prototxt:
    """RFB-320's shape at a smaller size: four maps, heads by Permute and Reshape to [1, −1, n]."""
    net = Prototxt("ultra-light", 60, 80)
    x = net.conv_relu("stem", "data", 8, stride=2)
    maps: list[str] = []
    for index, (outputs, anchors) in enumerate(((16, 3), (24, 2), (32, 2), (32, 3))):
        x = net.separable(f"stage{index}", x, outputs, 2)
        if index == 0:  # the receptive field block
            branches = [net.conv(f"rfb{d}", x, 8, dilation=d) for d in (2, 3, 5)]
            joined = net.layer("Concat", "rfb", " ".join(branches), "concat_param { axis: 1 }")
            net.channels[joined] = 24
            wide = net.conv("rfb_linear", joined, outputs, 1)
            short = net.conv("rfb_short", x, outputs, 1)
            added = net.layer("Eltwise", "rfb_sum", f"{wide} {short}")
            x = net.layer("ReLU", "rfb_relu", added)
        maps.append(x)
        for kind, size in (("cls", 2), ("box", 4)):
            head = net.conv(f"{kind}{index}", x, anchors * size)
            turned = net.layer(
                "Permute", f"{kind}{index}_p", head, "permute_param { order: [0, 2, 3, 1] }"
            )
            net.layer(
                "Reshape",
                f"{kind}{index}_r",
                turned,
                f"reshape_param {{ shape {{ dim: 1 dim: -1 dim: {size} }} }}",
            )
    for kind in ("cls", "box"):
        parts = " ".join(f"{kind}{index}_r" for index in range(len(maps)))
        net.layer("Concat", f"{kind}_all", parts, "concat_param { axis: 1 }")
    net.layer("Softmax", "scores", "cls_all", "softmax_param { axis: 2 }")
    net.layer("Reshape", "boxes", "box_all", "reshape_param { shape { dim: 1 dim: -1 dim: 4 } }")
    return net


def retina_face() -> Prototxt:
    """RetinaFace-mnet25's shape: a pyramid, context modules, scores by [1, 2, −1, 0] and back."""
    net = Prototxt("retina-face", 64, 96)
    x = net.conv_relu("stem", "data", 8, stride=2)
    x = net.separable("s0", x, 12, 2)
    levels: list[str] = []
    for index, outputs in enumerate((16, 24, 32)):
        x = net.separable(f"s{index + 1}", x, outputs, 2)
        levels.append(net.conv_relu(f"lateral{index}", x, 16, 1))
    up = net.layer("Upsample", "up", levels[2], "upsample_param { scale: 2 }")
    cropped = net.layer("Crop", "cropped", f"{up} {levels[1]}", "crop_param { axis: 2 }")
    levels[1] = net.conv_relu("merged", net.layer("Eltwise", "sum", f"{levels[1]} {cropped}"), 16)
    for index, level in enumerate(levels):
        wide = net.conv(f"ssh{index}_3x3", level, 8)
        context = net.conv_relu(f"ssh{index}_c", level, 4)
        parts = [wide, net.conv(f"ssh{index}_5x5", context, 4)]
        joined = net.layer("Concat", f"ssh{index}", " ".join(parts))
        net.channels[joined] = 12
        active = net.layer("ReLU", f"ssh{index}_relu", joined)
        score = net.conv(f"score{index}", active, 4, 1)
        paired = net.layer(
            "Reshape", f"pair{index}", score, "reshape_param { shape { dim: [1, 2, -1, 0] } }"
        )
        prob = net.layer("Softmax", f"prob{index}", paired)
        net.layer("Reshape", f"cls{index}", prob, "reshape_param { shape { dim: [1, 4, -1, 0] } }")
        net.conv(f"bbox{index}", active, 8, 1)
        net.conv(f"landmark{index}", active, 20, 1)
    return net


NETWORKS: Mapping[str, Callable[[], Prototxt]] = {
    "ultra-light": ultra_light,
    "retina-face": retina_face,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_writes_batch_1_converts_at_any_batch(
    tmp_path: Path, run_onnx: Run, name: str
) -> None:
    """Verified against OpenCV at batch 1; the rows of a larger batch are those of each image."""
    net = NETWORKS[name]()
    output = tmp_path / "net.onnx"
    report = convert_file(*net.write(tmp_path), output, Options(output=Kind.RAW))
    assert report.verification.status is Status.VERIFIED
    assert any("OpenCV" in each.reference for each in report.verification.comparisons)
    height, width = (60, 80) if name == "ultra-light" else (64, 96)
    images = np.random.default_rng(3).normal(0, 60, (3, 3, height, width)).astype(np.float32)
    together = run_onnx(output, images)
    assert len(together) == (2 if name == "ultra-light" else 9)
    for row in range(3):
        alone = run_onnx(output, images[row : row + 1])
        for blob, array in alone.items():
            assert len(together[blob]) == 3
            scale = max(1.0, float(np.abs(array).max()))
            np.testing.assert_allclose(together[blob][row], array[0], atol=1e-5 * scale)
    assert any(np.abs(array[0] - array[1]).max() > 1e-3 for array in together.values())
