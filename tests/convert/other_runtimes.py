"""Run ONNX files in OpenCV 5 or OpenVINO: a script for an environment that has only these.

    python other_runtimes.py opencv|openvino FOLDER

FOLDER has NAME.onnx and NAME.npz with the inputs; NAME.RUNTIME.npz gets the outputs.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def opencv(path: Path, inputs: Arrays) -> Arrays:
    """The outputs by name, from OpenCV."""
    cv2 = import_module("cv2")
    net = cv2.dnn.readNetFromONNX(str(path))
    for name, array in inputs.items():
        net.setInput(array, name)
    names = net.getUnconnectedOutLayersNames()
    return dict(zip(names, net.forward(names), strict=True))


def openvino(path: Path, inputs: Arrays) -> Arrays:
    """The outputs by name, from OpenVINO."""
    library = import_module("openvino")
    core = library.Core()
    # On newer processors the default is bfloat16.
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", hints)
    return {output.get_any_name(): np.array(array) for output, array in compiled(inputs).items()}


if __name__ == "__main__":
    run = {"opencv": opencv, "openvino": openvino}[sys.argv[1]]
    for file in sorted(Path(sys.argv[2]).glob("*.onnx")):
        np.savez(
            file.with_suffix(f".{sys.argv[1]}.npz"),
            **run(file, dict(np.load(file.with_suffix(".npz")))),
        )
