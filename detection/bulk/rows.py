"""The rows of the output: one for each picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from detection.bulk.names import readable
from detection.detector import Detection
from detection.errors import RequestError

FACE = pa.struct(
    [pa.field(name, pa.float32(), nullable=False) for name in ("x", "y", "width", "height")]
    + [pa.field("score", pa.float32(), nullable=False)]
)
ERROR = pa.struct([pa.field(name, pa.string(), nullable=False) for name in ("type", "detail")])
SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("faces", pa.list_(pa.field("face", FACE, nullable=False))),
        pa.field("error", ERROR),
        pa.field("model", pa.string(), nullable=False),
        pa.field("model_sha256", pa.string(), nullable=False),
        pa.field("seconds", pa.float32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Row:
    """One picture and what was found in it."""

    name: str
    sha256: str | None
    """Of the file's bytes; None if they could not be read."""
    found: Detection | RequestError


def parquet(rows: Sequence[Row], model: str, model_sha256: str) -> bytes:
    """A Parquet file of these rows."""
    table = pa.Table.from_pylist([_values(row, model, model_sha256) for row in rows], SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _values(row: Row, model: str, model_sha256: str) -> dict[str, object]:
    values: dict[str, object] = {
        "path": readable(row.name),
        "sha256": row.sha256,
        "model": model,
        "model_sha256": model_sha256,
    }
    if isinstance(row.found, RequestError):
        return values | {"error": {"type": row.found.slug, "detail": readable(str(row.found))}}
    # The numbers of `sfd detect --json`.
    answer = row.found.as_dict()
    timings = row.found.timings
    return {
        **values,
        **answer["image"],
        "faces": [face["box"] | {"score": face["score"]} for face in answer["faces"]],
        "seconds": timings.total - timings.queue,
    }
