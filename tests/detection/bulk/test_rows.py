import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detection.bulk.rows import SCHEMA, Row, parquet
from detection.detector import Detection
from detection.errors import InvalidImage
from detection.timings import Timings

FOUND = Detection(
    width=640,
    height=480,
    boxes=np.asarray([[1, 2, 11.5, 22.25], [0, 0, 4, 4]], np.float32),
    scores=np.asarray([0.98765, 0.5], np.float32),
    timings=Timings(0.01, 0.02, 5.0, 0.03, 0.04, 5.1),
    batch_size=1,
)


def test_a_picture_is_a_row_with_the_numbers_of_the_json_answer() -> None:
    (row,) = pq.read_table(pa.BufferReader(parquet([Row("a.png", "ff", FOUND)], "cells", "bb"))
                           ).to_pylist()  # fmt: skip
    faces = [
        {
            name: pytest.approx(value)
            for name, value in (face["box"] | {"score": face["score"]}).items()
        }
        for face in FOUND.as_dict()["faces"]
    ]
    assert row == {
        "path": "a.png",
        "sha256": "ff",
        "width": 640,
        "height": 480,
        "faces": faces,
        "error": None,
        "model": "cells",
        "model_sha256": "bb",
        # without the time in the queue
        "seconds": pytest.approx(0.1, abs=1e-5),
    }


def test_a_failure_is_a_row_with_its_type_and_detail() -> None:
    rows = [Row("\udcff.png", None, InvalidImage("the file is empty"))]
    (row,) = pq.read_table(pa.BufferReader(parquet(rows, "cells", "bb"))).to_pylist()
    assert row["path"] == "\\xff.png"
    assert row["error"] == {"type": "invalid-image", "detail": "the file is empty"}
    empty = ("sha256", "width", "height", "faces", "seconds")
    assert [row[name] for name in empty] == [None] * 5


def test_every_file_has_the_same_schema() -> None:
    for rows in ([Row("a", "f", FOUND)], [Row("a", None, InvalidImage("x"))]):
        schema = pq.read_schema(pa.BufferReader(parquet(rows, "cells", "bb")))
        assert schema.names == SCHEMA.names
        assert schema.types == SCHEMA.types
