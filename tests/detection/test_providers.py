"""The table of execution providers."""

import json
from typing import Any

import onnxruntime as ort
import pytest

from detection.precision import Precision
from detection.providers import PROVIDERS, ProviderName, Use, able


def options_of(name: ProviderName, max_batch: int = 8, **use: Any) -> dict[str, Any]:
    return PROVIDERS[name].options(Use("images", "480x640x3", max_batch, **use))


def openvino(**use: Any) -> dict[str, str]:
    """The configuration that OpenVINO gets for its CPU device."""
    options = options_of(ProviderName.OPENVINO, **use)
    assert options["device_type"] == "CPU"
    found: dict[str, str] = json.loads(options["load_config"])["CPU"]
    return found


def test_every_name_except_auto_has_a_row() -> None:
    assert set(PROVIDERS) == set(ProviderName) - {ProviderName.AUTO}


@pytest.mark.parametrize("name", PROVIDERS)
def test_onnxruntime_knows_the_provider(name: ProviderName) -> None:
    assert PROVIDERS[name].execution_provider in ort.get_all_providers()


def test_tensorrt_builds_one_engine_for_all_sizes_of_batch() -> None:
    assert options_of(ProviderName.TENSORRT, max_batch=4) == {
        "trt_profile_min_shapes": "images:1x480x640x3",
        "trt_profile_opt_shapes": "images:4x480x640x3",
        "trt_profile_max_shapes": "images:4x480x640x3",
    }


def test_openvino_plans_ahead_for_an_input_of_one_image() -> None:
    options = options_of(ProviderName.OPENVINO, max_batch=1)
    assert options["reshape_input"] == "images[1,480,640,3]"
    assert "reshape_input" not in options_of(ProviderName.OPENVINO, max_batch=2)


def test_cuda_does_not_search_for_the_fastest_convolution() -> None:
    assert options_of(ProviderName.CUDA)["cudnn_conv_algo_search"] == "HEURISTIC"


def test_cudas_libraries_are_loaded_for_cuda_and_tensorrt() -> None:
    needing = {name for name, provider in PROVIDERS.items() if provider.needs_cuda}
    assert needing == {ProviderName.CUDA, ProviderName.TENSORRT}


def test_openvino_computes_in_float32_unless_bfloat16_is_asked_for() -> None:
    assert openvino()["INFERENCE_PRECISION_HINT"] == "f32"
    assert openvino(bfloat16=True)["INFERENCE_PRECISION_HINT"] == "bf16"


def test_openvino_has_the_threads_of_all_batches_that_run_at_the_same_time() -> None:
    found = openvino(threads=3, streams=2)
    assert (found["INFERENCE_NUM_THREADS"], found["NUM_STREAMS"]) == ("6", "2")


def test_every_provider_runs_float32() -> None:
    assert able(Precision.FLOAT32) == tuple(PROVIDERS)


def test_bfloat16_runs_only_on_openvino_and_int8_also_on_the_cpu() -> None:
    assert able(Precision.BFLOAT16) == (ProviderName.OPENVINO,)
    assert able(Precision.INT8) == (ProviderName.CPU, ProviderName.OPENVINO)
