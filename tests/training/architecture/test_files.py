from pathlib import Path

from convert.caffe import prototxt
from convert.caffe.caffe_pb2 import NetParameter, SolverParameter
from training.architecture import files, networks
from training.architecture.family import MOD2, MOD11G

ROOT = Path(__file__).parents[3]
DEFAULT = "model_store/sfd-640-mobilenetv2-mod2"


def test_the_committed_files_of_the_default_model_are_what_the_generator_writes() -> None:
    for file, text in files.texts(MOD2, Path(DEFAULT).name, DEFAULT).items():
        assert (ROOT / DEFAULT / file).read_text(encoding="utf-8") == text, (
            f"run `sfd design --force --output {DEFAULT}`"
        )


def test_the_text_reads_back_as_the_same_network() -> None:
    texts = files.texts(MOD11G, "small", "model_store/small")
    assert prototxt.parse(texts["train.prototxt"], NetParameter).message == networks.train(MOD11G)
    read = prototxt.parse(texts["solver.prototxt"], SolverParameter).message
    assert read.train_net == "model_store/small/train.prototxt"
