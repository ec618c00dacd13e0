"""A small real model in a store, and a few photographs with marked faces."""

import json
import shutil
from pathlib import Path

import pytest

from convert.conversion import Options
from convert.outputs.kinds import Kind
from store.add import add

PHOTOGRAPHS = 6


@pytest.fixture(scope="session")
def store(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the published sfd-320-mod11g as `small`."""
    folder = tmp_path_factory.mktemp("evaluated") / "model_store"
    folder.mkdir()
    source = shared / "models/upstream/sfd-320-mod11g"
    options = Options(output=Kind.HEADS, verify=False)
    add(folder, "small", source / "deploy.prototxt", source / "weights.caffemodel", options=options)
    return folder


@pytest.fixture(scope="session")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `list.jsonl`, the photographs it names, one more that is not there."""
    folder = tmp_path_factory.mktemp("photographs")
    lines = [json.loads(line) for line in (shared / "faces/test.jsonl").read_text().splitlines()]
    marked = [line for line in lines if line["boxes"]][:PHOTOGRAPHS]
    for line in marked:
        copy = folder / line["image"]
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(shared / "faces" / line["image"], copy)
    marked.append({"image": "away.jpg", "boxes": [[1, 2, 3, 4]]})
    marked.append({"image": marked[0]["image"], "boxes": None})
    (folder / "list.jsonl").write_text("\n".join(json.dumps(line) for line in marked))
    return folder
