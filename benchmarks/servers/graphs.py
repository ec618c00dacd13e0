"""The two ONNX files of a model, and what the peers need to know of it."""

from pathlib import Path

from benchmarks.servers.contenders import ENVIRONMENTS, Graph
from benchmarks.servers.peers.setup import Setup
from convert.conversion import convert_file
from detection.cpu import core_cache
from detection.network_file import network_file
from detection.precision import processor_features
from detection.providers import ProviderName
from sfd.files import sha256
from store.build import conversion
from store.model import Model, check


def onnx(model: Model, graph: Graph) -> Path:
    """The file of a built model; the unmerged one is converted if it is not there yet."""
    built = check(model)
    if graph is Graph.MERGED:
        # Each process of the loop has one thread, and so has each worker of the service.
        file = network_file(model, built, ProviderName.CPU, 1, processor_features(), core_cache())
        return file.path
    folder = ENVIRONMENTS / "graphs"
    folder.mkdir(parents=True, exist_ok=True)
    # Another build may come from another converter.
    path = folder / f"{model.name}-{built.sha256[:16]}-unmerged.onnx"
    if not path.is_file():
        convert_file(model.deploy, model.weights, path, conversion(model, plain=True))
    return path


def setup(model: Model, graph: Graph, workers: int, port: int) -> Setup:
    """What a peer gets."""
    taken, thresholds = model.input, model.thresholds
    return Setup(
        onnx=str(onnx(model, graph).resolve()),
        deploy=str(model.deploy.resolve()),
        weights=str(model.weights.resolve()),
        width=taken.width,
        height=taken.height,
        background=taken.mean_rgb,
        mean=taken.mean,
        scale=taken.scale,
        swap=taken.channel_order == "bgr",
        score=thresholds.default_score,
        nms_iou=thresholds.nms_iou,
        top_k=thresholds.top_k,
        keep_top_k=thresholds.keep_top_k,
        workers=workers,
        port=port,
    )


def hashes(model: Model) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {str(graph): sha256(onnx(model, graph)) for graph in Graph}
