"""Settings from environment variables: what each accepts, and what a wrong one is told."""

import os
from pathlib import Path
from typing import Any

import pytest

from detection.cpu import available_cpus
from detection.errors import StartError
from detection.settings import (
    DEFAULT_MODEL,
    DetectionSettings,
    accepts,
    describe,
    load,
    quantity,
    suggestion,
    unknown_variables,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SFD_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("SFD_MODELS", "one, two,,", "models", ("one", "two")),
        ("SFD_MODELS", "", "models", ()),
        ("SFD_PROVIDER", "CPU", "provider", "cpu"),
        ("SFD_MAX_WAIT_MS", "2.5", "max_wait_ms", 2.5),
        ("SFD_MAX_PIXELS", "50MP", "max_pixels", 50_000_000),
        ("SFD_MAX_PIXELS", "50m", "max_pixels", 50_000_000),
        ("SFD_MODEL_STORE", "/models", "model_store", Path("/models")),
        ("SFD_WORKERS", "AUTO", "workers", "auto"),
        ("SFD_WORKERS", "Auto", "workers", "auto"),
        ("SFD_WORKERS", "3", "workers", 3),
        ("SFD_WORKERS", "3.0", "workers", 3),
        ("SFD_WORKERS", "", "workers", "auto"),
        ("SFD_MAX_BATCH", "aUTO", "max_batch", "auto"),
        ("SFD_MAX_BATCH", "8.0", "max_batch", 8),
        ("SFD_MAX_BATCH", "256", "max_batch", 256),
        ("SFD_THREADS", "", "threads", available_cpus()),
    ],
)
def test_a_variable_sets_its_field(
    variable: str, text: str, field: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(load(DetectionSettings), field) == value


@pytest.mark.parametrize(
    ("text", "factor"), [("", 4), ("auto", 4), ("AUTO", 4), ("true", 2), ("1", 2), ("False", None)]
)
def test_reduced_decoding_keeps_a_multiple_of_the_networks_input(
    text: str, factor: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFD_REDUCED_DECODING", text)
    assert load(DetectionSettings).oversampling == factor


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("SFD_PROVIDER", "gpu", "SFD_PROVIDER: must be auto | cpu | cuda | tensorrt | openvino"),
        ("SFD_PRECISION", "fp16", "SFD_PRECISION: must be float32 | bfloat16 | int8"),
        ("SFD_MAX_WAIT_MS", "nan", "SFD_MAX_WAIT_MS: must be a number from 0 to 1000"),
        ("SFD_WORKERS", "0", "SFD_WORKERS: must be auto | a whole number from 1 to 64, not '0'"),
        ("SFD_WORKERS", "many", "SFD_WORKERS: must be auto | a whole number from 1 to 64"),
        ("SFD_MAX_BATCH", "8.5", "SFD_MAX_BATCH: must be auto | a whole number from 1 to 256"),
        ("SFD_MAX_BATCH", "257", "SFD_MAX_BATCH: must be auto | a whole number from 1 to 256"),
        ("SFD_MAX_PIXELS", "50 MPx", "SFD_MAX_PIXELS: must be a number of pixels from 1 to"),
        ("SFD_QUEUE_LIMIT", "0", "SFD_QUEUE_LIMIT: must be a whole number from 1 to 100000"),
        ("SFD_THREADS", "513", "SFD_THREADS: must be a whole number from 1 to 512"),
        ("SFD_REDUCED_DECODING", "half", "SFD_REDUCED_DECODING: must be auto | true | false"),
    ],
)
def test_a_wrong_value_is_refused_with_the_variable_and_what_it_accepts(
    variable: str, text: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(StartError) as caught:
        load(DetectionSettings)
    assert says in str(caught.value)
    assert str(caught.value).count(variable) == 1
    assert "\n" not in str(caught.value)


def test_a_long_wrong_value_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_THREADS", "x" * 10_000)
    with pytest.raises(StartError, match=r"\.\.\.$") as caught:
        load(DetectionSettings)
    assert len(str(caught.value)) < 200


def test_values_of_the_caller_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_PROVIDER", "cuda")
    monkeypatch.setenv("SFD_QUEUE_LIMIT", "7")
    loaded = load(DetectionSettings, provider="cpu", queue_limit=None)
    assert (loaded.provider, loaded.queue_limit) == ("cpu", 7)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("20", 20),
        ("20 B", "20 B"),
        ("1.5k", 1500),
        ("2 GiB", 2**31),
        ("0.5KiB", 512),
        ("1MP", 10**6),
        ("0.3", "0.3"),
        ("1e3", "1e3"),
        (7, 7),
    ],
)
def test_a_quantity_is_a_number_with_a_unit_or_is_unchanged(text: object, number: object) -> None:
    assert quantity(text) == number


def test_every_setting_says_what_it_accepts_and_its_default() -> None:
    described = {variable: accepted for variable, accepted, _ in describe(DetectionSettings)}
    assert described["SFD_WORKERS"] == "auto | a whole number from 1 to 64; default auto"
    assert described["SFD_MODEL_STORE"] == "a folder"
    assert described["SFD_MODELS"] == "names separated by commas"
    assert described["SFD_DEFAULT_MODEL"] == "text"
    assert described["SFD_MAX_WAIT_MS"] == "a number from 0 to 1000; default 5.0"
    assert described["SFD_THREADS"] == "a whole number from 1 to 512"
    assert all(accepts(field) for field in DetectionSettings.model_fields.values())


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ({}, (DEFAULT_MODEL,)),
        ({"models": ("a", "b")}, ("a", "b")),
        ({"models": ("a", "b", "a"), "default_model": "b"}, ("b", "a")),
        ({"default_model": "c"}, ("c",)),
    ],
)
def test_the_default_model_is_served_first(given: dict[str, Any], served: tuple[str, ...]) -> None:
    assert load(DetectionSettings, **given).served_models == served


def test_a_default_model_that_is_not_served_is_refused() -> None:
    with pytest.raises(StartError, match="SFD_DEFAULT_MODEL: must be one of SFD_MODELS"):
        load(DetectionSettings, models=("a",), default_model="b")


def test_a_misspelt_variable_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFD_MAXBATCH", "3")
    monkeypatch.setenv("SFD_MAX_BATCH", "3")
    assert unknown_variables(DetectionSettings) == ["SFD_MAXBATCH"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("SFD_TREADS", "SFD_THREADS"), ("SFD_MAXBATCH", "SFD_MAX_BATCH"), ("SFD_COLOUR", None)],
)
def test_a_misspelt_variable_gets_a_suggestion(name: str, meant: str | None) -> None:
    assert suggestion(DetectionSettings, name) == meant


def test_a_decode_memory_without_its_unit_is_refused() -> None:
    with pytest.raises(StartError, match=r"SFD_DECODE_MEMORY: .*from 16777216 to"):
        load(DetectionSettings, decode_memory="64")
    assert load(DetectionSettings, decode_memory="64MiB").decode_memory == 2**26


def test_blanks_around_the_default_model_do_not_matter() -> None:
    assert load(DetectionSettings, default_model=" a ", models="a, b").default_model == "a"
