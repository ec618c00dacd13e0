"""The servers that are compared, and how each is started."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from detection.precision import Precision
from sfd.distribution import HOME

ENVIRONMENTS = HOME / "build" / "benchmarks"
"""Where `setup` makes the environments. git ignores it, and `make clean` removes it."""
LOCKS = HOME / "requirements"


class Graph(StrEnum):
    """Which ONNX file a server runs."""

    MERGED = "merged"
    """What the service runs on this CPU: useless channels are removed, convolutions joined and
    widened, and on some CPUs wide values computed in parts."""
    UNMERGED = "unmerged"
    """What `sfd convert --no-prune --no-merge --no-widen` writes."""


class Kind(StrEnum):
    """Whose a contender is."""

    LOOP = "loop"
    OURS = "ours"
    PEER = "peer"
    """A general-purpose server of models."""
    OPENCV = "opencv"


@dataclass(frozen=True)
class Contender:
    """A server, or the bare loop."""

    name: str
    title: str
    kind: Kind
    program: tuple[str, ...]
    """The arguments of Python; `{port}` is replaced."""
    path: str = "/detect"
    """Where it takes pictures by POST."""
    lock: str | None = None
    """The lock of its environment, under requirements/; None for this process's environment."""
    graph: Graph | None = None
    """The file it runs; None for the one that the run chooses for all peers."""
    precision: Precision = Precision.FLOAT32
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its process; `{port}` is replaced."""
    packages: tuple[str, ...] = ()
    """The packages whose versions are noted."""

    @property
    def folder(self) -> Path | None:
        """The folder of its own environment."""
        return None if self.lock is None else ENVIRONMENTS / Path(self.lock).stem

    def with_settings(self, name: str, title: str, **settings: str) -> "Contender":
        """The same server under another name with further variables."""
        values = vars(self) | {"name": name, "title": title}
        return Contender(**(values | {"environment": {**self.environment, **settings}}))


_PEERS = "benchmarks.servers.peers"
_WORK = ("onnxruntime", "numpy", "pillow")
_ONE_LOOK = {"SFD_SECOND_LOOK": "false"}
"""The others have no second look, and only equal work is compared."""

_LISTED = (
    Contender(
        "loop",
        "bare loop",
        Kind.LOOP,
        ("-m", f"{_PEERS}.loop"),
        graph=Graph.UNMERGED,
        packages=_WORK,
    ),
    Contender(
        "loop-merged",
        "bare loop, merged file",
        Kind.LOOP,
        ("-m", f"{_PEERS}.loop"),
        graph=Graph.MERGED,
        packages=_WORK,
    ),
    Contender(
        "ours",
        "sfd serve",
        Kind.OURS,
        ("-m", "sfd", "serve"),
        graph=Graph.MERGED,
        environment={"SFD_PORT": "{port}", **_ONE_LOOK},
        packages=(*_WORK, "fastapi", "starlette", "uvicorn", "uvloop"),
    ),
    Contender(
        "ours-bf16",
        "sfd serve, OpenVINO bfloat16",
        Kind.OURS,
        ("-m", "sfd", "serve"),
        lock="openvino.txt",
        graph=Graph.MERGED,
        precision=Precision.BFLOAT16,
        environment={
            "SFD_PORT": "{port}",
            "SFD_PROVIDER": "openvino",
            "SFD_PRECISION": "bfloat16",
            **_ONE_LOOK,
        },
        packages=("onnxruntime-openvino", "numpy", "pillow", "uvicorn"),
    ),
    Contender(
        "litserve",
        "LitServe",
        Kind.PEER,
        ("-m", f"{_PEERS}.litserve_app"),
        path="/predict",
        lock="peers/litserve.txt",
        packages=("litserve", *_WORK),
    ),
    Contender(
        "mosec",
        "mosec",
        Kind.PEER,
        ("-m", f"{_PEERS}.mosec_app", "--address", "127.0.0.1", "--port", "{port}"),
        path="/inference",
        lock="peers/mosec.txt",
        packages=("mosec", *_WORK),
    ),
    Contender(
        "bentoml",
        "BentoML",
        Kind.PEER,
        (
            *("-m", "bentoml", "serve", f"{_PEERS}.bentoml_app:Faces"),
            *("--host", "127.0.0.1", "--port", "{port}"),
        ),
        lock="peers/bentoml.txt",
        environment={
            "BENTOML_HOME": str(ENVIRONMENTS / "bentoml-home"),
            "BENTOML_DO_NOT_TRACK": "True",
        },
        packages=("bentoml", *_WORK),
    ),
    Contender(
        "ray",
        "Ray Serve",
        Kind.PEER,
        ("-m", f"{_PEERS}.ray_app"),
        path="/",
        lock="ray.txt",
        environment={"RAY_USAGE_STATS_ENABLED": "0"},
        packages=("ray", *_WORK),
    ),
    Contender(
        "opencv",
        "FastAPI with OpenCV 4",
        Kind.OPENCV,
        ("-m", f"{_PEERS}.opencv_app"),
        packages=("opencv-python-headless", "fastapi", "uvicorn", "numpy", "pillow"),
    ),
)

CONTENDERS = {contender.name: contender for contender in _LISTED}
"""By name, in the order of the tables."""
