"""The execution providers of onnxruntime that can run a model: to support another, add a row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ProviderName(StrEnum):
    """What SFD_PROVIDER and `--provider` accept."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"


Options = Callable[[str, str, int], dict[str, Any]]
"""Provider options for an input's name, its shape as HxWxC, and the largest batch."""


def _no_options(name: str, shape: str, max_batch: int) -> dict[str, Any]:
    return {}


def _cuda(name: str, shape: str, max_batch: int) -> dict[str, Any]:
    # An exhaustive search would delay the first batch of each size.
    return {"cudnn_conv_algo_search": "HEURISTIC"}


def _tensorrt(name: str, shape: str, max_batch: int) -> dict[str, Any]:
    # One engine for all batch sizes, instead of a new one whenever a size is first seen.
    return {
        "trt_profile_min_shapes": f"{name}:1x{shape}",
        "trt_profile_opt_shapes": f"{name}:{max_batch}x{shape}",
        "trt_profile_max_shapes": f"{name}:{max_batch}x{shape}",
    }


def _openvino(name: str, shape: str, max_batch: int) -> dict[str, Any]:
    return {"device_type": "CPU"}


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider."""

    execution_provider: str
    """onnxruntime's name of it."""
    package: str
    """The package to install for it."""
    options: Options = _no_options
    needs_cuda: bool = False
    """Whether CUDA's libraries must be loaded first."""


_GPU = "onnxruntime-gpu, the extra `gpu`"

PROVIDERS: Mapping[ProviderName, Provider] = {
    ProviderName.CPU: Provider("CPUExecutionProvider", "onnxruntime"),
    ProviderName.CUDA: Provider("CUDAExecutionProvider", _GPU, _cuda, needs_cuda=True),
    ProviderName.TENSORRT: Provider("TensorrtExecutionProvider", _GPU, _tensorrt, needs_cuda=True),
    ProviderName.OPENVINO: Provider("OpenVINOExecutionProvider", "onnxruntime-openvino", _openvino),
}
