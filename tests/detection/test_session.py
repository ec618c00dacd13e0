import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from detection import session
from detection.errors import StartError
from detection.precision import NEEDS, Precision
from detection.providers import ProviderName
from sfd.files import sha256
from store import model as models
from store.model import ModelError

CPU_ONLY = ["CPUExecutionProvider"]
WITH_CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def opener(*working: str) -> Callable[[str], Any]:
    def open_on(provider: str) -> Any:
        if provider not in working:
            raise StartError(f"{provider} does not load")
        return SimpleNamespace(provider=provider)

    return open_on


@pytest.mark.parametrize(
    ("asked", "available", "working", "chosen", "reason"),
    [
        ("cpu", CPU_ONLY, ["cpu"], "cpu", None),
        ("cuda", WITH_CUDA, ["cuda", "cpu"], "cuda", None),
        ("auto", WITH_CUDA, ["cuda", "cpu"], "cuda", None),
        ("auto", WITH_CUDA, ["cpu"], "cpu", "cuda does not load"),
        ("auto", CPU_ONLY, ["cpu"], "cpu", "no CUDAExecutionProvider"),
    ],
)
def test_the_working_provider_is_used_and_a_fallback_has_its_reason(
    asked: str, available: list[str], working: list[str], chosen: str, reason: str | None
) -> None:
    opened, provider, fallback = session.choose(ProviderName(asked), available, opener(*working))
    assert provider == chosen
    assert opened.provider == chosen
    assert (fallback is None) if reason is None else (reason in str(fallback))


@pytest.mark.parametrize(
    ("asked", "available", "says"),
    [
        ("cuda", CPU_ONLY, "SFD_PROVIDER=cuda does not work: .*no CUDAExecutionProvider.*gpu"),
        ("cuda", WITH_CUDA, "SFD_PROVIDER=cuda does not work: cuda does not load"),
        ("tensorrt", CPU_ONLY, "no TensorrtExecutionProvider"),
        ("openvino", CPU_ONLY, "no OpenVINOExecutionProvider.*onnxruntime-openvino"),
    ],
)
def test_a_named_provider_that_does_not_work_stops_the_start(
    asked: str, available: list[str], says: str
) -> None:
    with pytest.raises(StartError, match=says):
        session.choose(ProviderName(asked), available, opener("cpu"))


@pytest.fixture
def folder(tmp_path: Path, write_small_model: Callable[[Path], Path]) -> Path:
    return write_small_model(tmp_path)


def load(
    folder: Path,
    provider: ProviderName = ProviderName.CPU,
    precision: Precision = Precision.FLOAT32,
    threads: int = 1,
) -> session.Session:
    model = models.load(folder)
    return session.open_session(model, provider, threads, max_batch=4, precision=precision)


def test_each_image_of_a_batch_gets_its_own_candidates(folder: Path) -> None:
    opened = load(folder)
    dark, bright = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    found = opened.run([dark, bright, dark])
    assert [one.scores.shape for one in found] == [(16,)] * 3
    assert [float(one.scores.max()) for one in found] == [0, 1, 0]
    assert found[1].boxes[5].tolist() == [0.25, 0.25, 0.5, 0.5]


@pytest.mark.parametrize(("measured", "expected"), [(None, [1, 4, 1]), (4, [1, 1]), (1, [4, 1])])
def test_warming_up_runs_each_size_that_has_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, measured: int | None, expected: list[int]
) -> None:
    opened = load(folder)
    if measured:
        opened.run_blank(measured)
    sizes: list[int] = []
    infer = session._infer

    def watched(network: Any, images: Sequence[Any], **options: Any) -> Any:
        sizes.append(len(images))
        return infer(network, images, **options)

    monkeypatch.setattr(session, "_infer", watched)
    opened.warm_up({1, 4})
    # The last one frees memory.
    assert sizes == expected


def test_warming_up_leaves_only_the_memory_that_the_next_run_needs(
    built_model: Path,
) -> None:
    """In a process of its own, because all sessions share what onnxruntime has allocated."""
    program = f"""
from pathlib import Path
from detection.providers import ProviderName
from detection.session import open_session
from store import model

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

def opened():
    found = model.load(Path({str(built_model.parent)!r}))
    return open_session(found, ProviderName.CPU, 2, 4, shares_arena=True)

before = resident()
larger = opened()
for _ in range(2):
    larger.run_blank(4)
del larger
kept = opened()
kept.run_blank(1)
measured = resident() - before
kept.warm_up({{1}})
kept.run_blank(1)
print(measured, resident() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    measured, warm = map(float, done.stdout.split())
    assert measured > 200
    assert warm < 0.5 * measured


def test_a_model_that_fails_during_the_warm_up_is_named_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **options: object) -> None:
        raise RuntimeError("CUDA error 700:\n  an illegal memory access")

    monkeypatch.setattr(session, "_infer", fail)
    with pytest.raises(StartError) as caught:
        load(folder).warm_up({1})
    assert str(caught.value) == (
        "cells: the model does not run: CUDA error 700: an illegal memory access"
    )


@pytest.mark.parametrize("file", ["model.onnx", "deploy.prototxt", "weights.caffemodel"])
def test_a_file_that_does_not_match_its_hash_is_refused(folder: Path, file: str) -> None:
    path = folder / file
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelError, match=file):
        load(folder)


def test_a_file_of_the_wrong_shape_is_refused(folder: Path) -> None:
    graph = onnx.load(folder / "model.onnx")
    graph.graph.output[0].name = graph.graph.node[-1].output[0] = "rectangles"
    onnx.save(graph, folder / "model.onnx")
    bless(folder)
    with pytest.raises(StartError, match=r"rectangles.*not uint8 images \[batch, 64, 64, 3\]"):
        load(folder)


def test_a_file_that_is_not_onnx_is_refused_in_one_line(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a network")
    bless(folder)
    with pytest.raises(StartError, match="does not open on CPUExecutionProvider") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_model_of_several_classes_is_refused(folder: Path) -> None:
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace('["face"]', '["face", "cat"]'))
    bless(folder)
    with pytest.raises(StartError, match="2 classes"):
        load(folder)


def test_the_session_runs_on_the_requested_provider(folder: Path) -> None:
    opened = load(folder)
    assert opened.provider == "cpu"
    assert opened.fallback is None
    assert isinstance(opened.onnx, ort.InferenceSession)


ABLE = frozenset().union(*NEEDS.values())
"""The features of a processor that has them all."""


@pytest.mark.parametrize(
    ("precision", "provider", "becomes"),
    [
        ("float32", "auto", "auto"),
        ("float32", "cuda", "cuda"),
        ("int8", "auto", "cpu"),
        ("int8", "openvino", "openvino"),
        ("bfloat16", "auto", "openvino"),
    ],
)
def test_a_precision_has_its_providers(precision: str, provider: str, becomes: str) -> None:
    found = session.check_precision(Precision(precision), ProviderName(provider), ABLE)
    assert found == becomes


@pytest.mark.parametrize(
    ("precision", "provider", "says"),
    [
        (
            "bfloat16",
            "cpu",
            "SFD_PRECISION=bfloat16 does not run on SFD_PROVIDER=cpu, only on open",
        ),
        ("bfloat16", "cuda", "does not run on SFD_PROVIDER=cuda, only on openvino"),
        ("int8", "cuda", "does not run on SFD_PROVIDER=cuda, only on cpu and openvino"),
        ("int8", "tensorrt", "does not run on SFD_PROVIDER=tensorrt, only on cpu and openvino"),
    ],
)
def test_a_provider_that_cannot_run_a_precision_stops_the_start(
    precision: str, provider: str, says: str
) -> None:
    with pytest.raises(StartError, match=says):
        session.check_precision(Precision(precision), ProviderName(provider), ABLE)


@pytest.mark.parametrize(("precision", "flag"), [("bfloat16", "avx512_bf16"), ("int8", "avx_vnni")])
def test_a_processor_that_cannot_run_a_precision_stops_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, precision: str, flag: str
) -> None:
    monkeypatch.setattr(session, "processor_features", lambda: frozenset({"avx2"}))
    says = f"SFD_PRECISION={precision} does not work: .* needs a processor with .*{flag}"
    with pytest.raises(StartError, match=says):
        load(folder, ProviderName.AUTO, Precision(precision))


def test_int8_without_its_file_names_the_command_that_makes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "processor_features", lambda: ABLE)
    with pytest.raises(StartError, match="`sfd models quantize cells --images DIR`"):
        load(folder, precision=Precision.INT8)


def test_int8_runs_its_own_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "processor_features", lambda: ABLE)
    digest = pretend_to_quantize(folder)
    opened = load(folder, precision=Precision.INT8)
    assert (opened.precision, opened.sha256) == ("int8", digest)
    assert load(folder).precision == "float32"
    assert load(folder).sha256 != digest


def test_few_threads_of_a_cpu_run_its_own_file_where_that_is_faster(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(folder).sha256
    digest = pretend_to_partition(folder)
    paths: list[str] = []
    opened = session.open_file

    def open_on_the_cpu(path: Path, name: ProviderName, *given: Any, **options: Any) -> Any:
        paths.append(path.name)
        return opened(path, ProviderName.CPU, *given, **options)

    monkeypatch.setattr(session, "open_file", open_on_the_cpu)
    monkeypatch.setattr(session, "processor_features", lambda: {"avx512f"})
    monkeypatch.setattr(session, "core_cache", lambda: 2 << 20)
    assert load(folder).sha256 == whole
    monkeypatch.setattr(session, "core_cache", lambda: 1 << 20)
    assert load(folder).sha256 == digest
    monkeypatch.setattr(session, "processor_features", lambda: {"avx2"})
    assert load(folder).sha256 == digest != whole
    assert load(folder, threads=3).sha256 == whole
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    on_cuda = load(folder, ProviderName.CUDA)
    assert (on_cuda.provider, on_cuda.sha256) == ("cuda", whole)
    files = ["model.onnx", "model.cpu.onnx", "model.cpu.onnx", "model.onnx", "model.onnx"]
    assert paths == files


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"other"), "does not match its sha256"),
    ],
)
def test_a_broken_int8_file_stops_only_int8(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], says: str
) -> None:
    monkeypatch.setattr(session, "processor_features", lambda: ABLE)
    pretend_to_quantize(folder)
    change(folder / "model.int8.onnx")
    assert load(folder).precision == "float32"
    with pytest.raises(ModelError, match=f"{says}.*sfd models quantize cells --images DIR"):
        load(folder, precision=Precision.INT8)


def pretend_to_quantize(folder: Path) -> str:
    """A copy of `model.onnx` as int8 file; returns its hash. Its graph has another name."""
    graph = onnx.load(folder / "model.onnx")
    graph.graph.name = "int8"
    onnx.save(graph, folder / "model.int8.onnx")
    build = json.loads((folder / "build.json").read_text())
    build["int8"] = {
        "sha256": sha256(folder / "model.int8.onnx"),
        "source": build["sha256"],
        "calibration": {"images": 1, "sha256": "0" * 64, "method": "none"},
        "agreement": {
            "images": 1, "faces": 1, "matched": 1, "extra": 0, "iou_median": 1, "iou_p5": 1,
            "score_difference": 0,
        },
        "speed": {"float32_ms": 1, "int8_ms": 1, "ratio": 1, "threads": 1, "processor": "none"},
    }  # fmt: skip
    (folder / "build.json").write_text(json.dumps(build))
    return str(build["int8"]["sha256"])


def pretend_to_partition(folder: Path) -> str:
    """A copy of `model.onnx` as the file for CPUs; returns its hash. Its graph has another name."""
    graph = onnx.load(folder / "model.onnx")
    graph.graph.name = "in parts"
    onnx.save(graph, folder / "model.cpu.onnx")
    build = json.loads((folder / "build.json").read_text())
    build["cpu"] = sha256(folder / "model.cpu.onnx")
    (folder / "build.json").write_text(json.dumps(build))
    return str(build["cpu"])


def bless(folder: Path) -> None:
    """Update build.json to the folder's current files."""
    build = json.loads((folder / "build.json").read_text())
    build["sha256"] = sha256(folder / "model.onnx")
    build["recipe"] = models.recipe_hash(models.load(folder))
    (folder / "build.json").write_text(json.dumps(build))
