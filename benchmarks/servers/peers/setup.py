"""What a peer needs to know, as a file of JSON that `BENCHMARK_SETUP` names."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

ENVIRONMENT = "BENCHMARK_SETUP"


@dataclass(frozen=True)
class Setup:
    """The network, its thresholds, and where to listen."""

    onnx: str
    deploy: str
    weights: str
    width: int
    height: int
    background: tuple[int, int, int]
    """The colour of the padding, RGB."""
    mean: tuple[float, ...]
    """Caffe's mean in the network's order of channels, which is BGR if `swap`."""
    scale: float
    swap: bool
    score: float
    nms_iou: float
    top_k: int
    keep_top_k: int
    workers: int
    """Processes that infer, each with one thread."""
    port: int

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(asdict(self)), "utf-8")


def read() -> Setup:
    """The setup that the environment names."""
    values = json.loads(Path(os.environ[ENVIRONMENT]).read_text("utf-8"))
    lists = {name: tuple(values[name]) for name in ("background", "mean")}
    return Setup(**(values | lists))
