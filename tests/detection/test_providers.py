"""The table of execution providers."""

import onnxruntime as ort
import pytest

from detection.providers import PROVIDERS, ProviderName


def options_of(name: ProviderName, max_batch: int = 8) -> dict[str, object]:
    return PROVIDERS[name].options("images", "480x640x3", max_batch)


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


def test_cuda_does_not_search_for_the_fastest_convolution() -> None:
    assert options_of(ProviderName.CUDA)["cudnn_conv_algo_search"] == "HEURISTIC"


def test_cudas_libraries_are_loaded_for_cuda_and_tensorrt() -> None:
    needing = {name for name, provider in PROVIDERS.items() if provider.needs_cuda}
    assert needing == {ProviderName.CUDA, ProviderName.TENSORRT}
