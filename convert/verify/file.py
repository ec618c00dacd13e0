"""A converted file in onnxruntime."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

F32 = NDArray[np.float32]


class ConvertedFile:
    """The file as it will be written, or a copy that also gives out some inner values."""

    def __init__(self, model: onnx.ModelProto, inner: Sequence[str] = ()) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            _with_outputs(model, inner).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
        self._input = self._session.get_inputs()[0].name
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, batch: NDArray[np.generic]) -> Mapping[str, F32]:
        """The outputs by name."""
        arrays = self._session.run(self._outputs, {self._input: batch})
        return dict(zip(self._outputs, arrays, strict=True))


def _with_outputs(model: onnx.ModelProto, extra: Sequence[str]) -> onnx.ModelProto:
    """A copy of the model whose graph also gives out these values."""
    present = {output.name for output in model.graph.output}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name in dict.fromkeys(extra):
        if name not in present:
            copy.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    return copy
