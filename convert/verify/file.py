"""A converted file in onnxruntime."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from geometry.arrays import F32

EXTERNAL_DATA = "session.model_external_initializers_file_folder_path"


class FileError(Exception):
    """onnxruntime can't load or run the file; the message is its reason."""


class ConvertedFile:
    """The file as it will be written, or a copy that also gives out some inner values.

    Without `optimized`, onnxruntime computes node by node, so it adds in another order. `folder`
    has the external data of `model`.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        inner: Sequence[str] = (),
        *,
        optimized: bool = True,
        folder: Path | None = None,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # The arena would keep the largest buffers of each run, twice as large as needed.
        options.enable_cpu_mem_arena = False
        # Idle threads must not spin: OpenCV computes in turns with this session.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if folder is not None:
            # As bytes: a path need not be UTF-8.
            options.add_session_config_entry(EXTERNAL_DATA, os.fsencode(folder))
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        content = _with_outputs(model, inner).SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions have no common class
            raise FileError(f"onnxruntime can't load the file: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Mapping[str, F32]:
        """The outputs by name."""
        try:
            arrays = self._session.run(self._outputs, dict(inputs))
        except Exception as error:
            raise FileError(f"onnxruntime can't run the file: {error}") from error
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
