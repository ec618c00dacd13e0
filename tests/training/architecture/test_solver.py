from pathlib import Path

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import SolverParameter
from training.architecture.solver import solver

PATHS = ("train_net", "test_net", "snapshot_prefix")


def test_the_solver_equals_the_published_one_but_for_its_paths(shared: Path) -> None:
    path = shared / "models/reference/sfd-640-mod2/solver.prototxt"
    published = prototxt.read(path, SolverParameter).message
    ours = solver("a-model", folder="model_store/a-model")
    for message in (published, ours):
        for field in PATHS:
            message.ClearField(field)
    assert ours == published


def test_the_solver_finds_the_networks_in_the_folder_of_the_model() -> None:
    ours = solver("a-model", folder="model_store/a-model", test_images=100)
    assert ours.train_net == "model_store/a-model/train.prototxt"
    assert ours.test_net == ["model_store/a-model/test.prototxt"]
    assert ours.snapshot_prefix == "snapshots/a-model"
    assert ours.test_iter == [50]
