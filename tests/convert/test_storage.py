"""Models on disk: in one file, or beyond protobuf's limit in two."""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from convert import storage
from convert.conversion import convert_bytes, convert_file
from convert.graph import BATCH, GraphBuilder
from convert.options import Options
from convert.report import Status
from convert.storage import stored
from sfd.files import WriteError
from tests.convert import networks


def model() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    graph = GraphBuilder()
    x = graph.input("data", (BATCH, 40))
    large = graph.constant(random.normal(size=(40, 50)).astype(np.float32), "large")
    small = graph.constant(random.normal(size=50).astype(np.float32), "small")
    y = graph.node("MatMul", [x, large], (BATCH, 50))
    graph.output("y", graph.node("Add", [y, small], (BATCH, 50), name="y"))
    return graph.model("test")


def entries(**properties: str) -> list[onnx.StringStringEntryProto]:
    return [onnx.StringStringEntryProto(key=key, value=value) for key, value in properties.items()]


def test_a_name_may_be_almost_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 245 + ".onnx")
    with stored(model(), path) as store:
        store.finish([])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_name_that_is_not_utf_8_is_refused_only_if_the_model_must_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / os.fsdecode(b"o\xfe.onnx")
    with stored(model(), path) as store:
        store.finish([])
    assert list(tmp_path.iterdir()) == [path]
    path.unlink()
    monkeypatch.setattr(storage, "MAX_INLINE", 1000)
    with (
        pytest.raises(WriteError, match="the name is not UTF-8: choose another"),
        stored(model(), path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_written_in_parts_is_what_protobuf_would_write(tmp_path: Path) -> None:
    made, path = model(), tmp_path / "out.onnx"
    with stored(made, path) as store:
        digest = store.finish(entries(a="1", b="2"))
    helper.set_model_props(made, {"a": "1", "b": "2"})
    assert path.read_bytes() == made.SerializeToString(deterministic=True)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [each.name for each in tmp_path.iterdir()] == ["out.onnx"]


def test_modes_follow_the_umask_and_stay_when_the_files_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MAX_INLINE", 1000)
    path = tmp_path / "out.onnx"

    def modes() -> list[int]:
        with stored(model(), path) as store:
            store.finish([])
        return [each.stat().st_mode & 0o777 for each in (path, storage.data_path(path))]

    umask = os.umask(0o027)
    try:
        assert modes() == [0o640, 0o640]
        path.chmod(0o600)
        storage.data_path(path).chmod(0o604)
        assert modes() == [0o600, 0o604]
    finally:
        os.umask(umask)


def test_the_light_model_reads_its_large_tensors_from_the_file(tmp_path: Path) -> None:
    with stored(model(), tmp_path / "out.onnx") as store:
        places = {each.name: each.data_location for each in store.light.graph.initializer}
        assert places == {"large": onnx.TensorProto.EXTERNAL, "small": onnx.TensorProto.DEFAULT}
        loaded = onnx.ModelProto()
        loaded.CopyFrom(store.light)
        onnx.load_external_data_for_model(loaded, str(store.folder))
        tensors = {each.name: each.raw_data for each in loaded.graph.initializer}
    assert tensors == {each.name: each.raw_data for each in model().graph.initializer}


def test_without_finish_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for most in (storage.MAX_INLINE, 1000):
        monkeypatch.setattr(storage, "MAX_INLINE", most)
        with stored(model(), tmp_path / "out.onnx"):
            assert list(tmp_path.iterdir())
        assert not list(tmp_path.iterdir())


def test_weights_beyond_the_limit_go_into_a_second_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = networks.vgg(32, ((1, 4), (1, 8)), 64)
    path = tmp_path / "deploy.prototxt"
    path.write_text(text)
    options = Options(simulated_weights=1)
    whole, split = tmp_path / "whole.onnx", tmp_path / "split.onnx"
    convert_file(path, None, whole, options)
    monkeypatch.setattr(storage, "MAX_INLINE", 100_000)
    report = convert_file(path, None, split, options)
    assert report.verification.status is Status.VERIFIED
    data = tmp_path / "split.onnx.data"
    assert split.stat().st_size < 20_000 < data.stat().st_size
    assert whole.stat().st_size < split.stat().st_size + data.stat().st_size
    x = np.random.default_rng(2).normal(size=(2, 3, 32, 32)).astype(np.float32)
    one, other = (
        onnxruntime.InferenceSession(each).run(None, {"data": x}) for each in (whole, split)
    )
    np.testing.assert_array_equal(one[0], other[0])
    onnx.checker.check_model(str(split), full_check=True)

    monkeypatch.undo()
    monkeypatch.setattr(storage, "MAX_INLINE", 100_000)
    loaded, _ = convert_bytes(text.encode(), None, options)
    assert all(each.data_location == onnx.TensorProto.DEFAULT for each in loaded.graph.initializer)
    reference = {each.name: each.raw_data for each in onnx.load(whole).graph.initializer}
    assert {each.name: each.raw_data for each in loaded.graph.initializer} == reference
