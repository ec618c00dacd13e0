"""The execution providers of onnxruntime that can run a model: to support another, add a row."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from detection.precision import Precision


class ProviderName(StrEnum):
    """What SFD_PROVIDER and `--provider` accept."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"


@dataclass(frozen=True, slots=True)
class Use:
    """How a provider is going to run a model."""

    input: str
    """Name of the model's input."""
    shape: str
    """Its shape as HxWxC."""
    max_batch: int
    """The largest batch."""
    threads: int = 1
    """Of each batch."""
    streams: int = 1
    """Batches that run at the same time."""
    bfloat16: bool = False
    """Whether to compute in bfloat16 what the model has in float32."""


Options = Callable[[Use], dict[str, Any]]
"""Provider options for a use."""


def _no_options(use: Use) -> dict[str, Any]:
    return {}


def _cuda(use: Use) -> dict[str, Any]:
    # An exhaustive search would delay the first batch of each size.
    return {"cudnn_conv_algo_search": "HEURISTIC"}


def _tensorrt(use: Use) -> dict[str, Any]:
    # One engine for all batch sizes, instead of a new one whenever a size is first seen.
    return {
        "trt_profile_min_shapes": f"{use.input}:1x{use.shape}",
        "trt_profile_opt_shapes": f"{use.input}:{use.max_batch}x{use.shape}",
        "trt_profile_max_shapes": f"{use.input}:{use.max_batch}x{use.shape}",
    }


def _openvino(use: Use) -> dict[str, Any]:
    # OpenVINO has threads of its own, and ignores the number in onnxruntime's options.
    config = {
        "INFERENCE_PRECISION_HINT": "bf16" if use.bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": str(use.threads * use.streams),
        "NUM_STREAMS": str(use.streams),
        # Otherwise all processes of a machine would bind their threads to the same first cores.
        "ENABLE_CPU_PINNING": "NO",
    }
    options = {"device_type": "CPU", "load_config": json.dumps({"CPU": config})}
    if use.max_batch == 1:
        # With a free batch size OpenVINO can plan less ahead, and takes 1.2 times as long in
        # bfloat16.
        sides = use.shape.replace("x", ",")
        options["reshape_input"] = f"{use.input}[1,{sides}]"
    return options


@dataclass(frozen=True, slots=True)
class Provider:
    """One execution provider."""

    execution_provider: str
    """onnxruntime's name of it."""
    package: str
    """The package to install for it."""
    options: Options = _no_options
    precisions: frozenset[Precision] = frozenset({Precision.FLOAT32})
    """What it can run. Whether the processor can is another question."""
    needs_cuda: bool = False
    """Whether CUDA's libraries must be loaded first."""
    on_cpu: bool = False
    """Whether it computes on the processor."""


_GPU = "onnxruntime-gpu, the extra `gpu`"

PROVIDERS: Mapping[ProviderName, Provider] = {
    ProviderName.CPU: Provider(
        "CPUExecutionProvider",
        "onnxruntime",
        precisions=frozenset({Precision.FLOAT32, Precision.INT8}),
        on_cpu=True,
    ),
    ProviderName.CUDA: Provider("CUDAExecutionProvider", _GPU, _cuda, needs_cuda=True),
    ProviderName.TENSORRT: Provider("TensorrtExecutionProvider", _GPU, _tensorrt, needs_cuda=True),
    ProviderName.OPENVINO: Provider(
        "OpenVINOExecutionProvider",
        "onnxruntime-openvino, the extra `openvino`",
        _openvino,
        precisions=frozenset(Precision),
        on_cpu=True,
    ),
}


def able(precision: Precision) -> tuple[ProviderName, ...]:
    """The providers that can run a precision."""
    return tuple(name for name, row in PROVIDERS.items() if precision in row.precisions)
