"""Which layers of a prototxt compute, which give an input, and which serve training only."""

from pathlib import Path

import numpy as np
import pytest

from convert.caffe import network, weights
from convert.caffe.network import CaffeError, Network
from convert.graph import GraphBuilder
from convert.translate import build_graph


@pytest.fixture
def read(tmp_path: Path) -> "Read":
    return Read(tmp_path)


class Read:
    """Reads a network from a text and, perhaps, weights by layer name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        text: str,
        blobs: dict[str, tuple[int, ...]] | None = None,
        size: int | None = None,
        channels: int | None = None,
    ) -> Network:
        path, model = self.folder / "net.prototxt", self.folder / "net.caffemodel"
        path.write_text(text)
        if blobs is not None:
            zeros = {name: (np.zeros(shape, np.float32),) for name, shape in blobs.items()}
            weights.write(model, "net", zeros)
        return network.load(path, model if blobs else None, input_size=size, channels=channels)


CONV = (
    'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
    "convolution_param { num_output: 2 kernel_size: 3 bias_term: false } }\n"
)
LOSS = 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "l" }\n'


@pytest.mark.parametrize(
    "data",
    [
        'type: "Data" data_param { source: "db" batch_size: 64 }',
        'type: "ImageData" image_data_param { source: "list.txt" }',
        'type: "ImageSegData"',
        'type: "DenseImageData"',
        'type: "HDF5Data" hdf5_data_param { source: "list.txt" }',
        'type: "LMDBData"',
    ],
)
def test_a_data_layer_without_a_size_takes_the_given_one(read: Read, data: str) -> None:
    text = f'layer {{ name: "d" top: "data" top: "label" {data} }}\n' + CONV + LOSS
    found = read(text, size=28)
    assert found.inputs == {"data": (1, 3, 28, 28)}
    assert [layer.name for layer in found.layers] == ["c"]
    assert {layer.name for layer in found.training_layers} == {"d", "l"}


def test_without_a_size_the_data_layer_is_the_only_problem(read: Read) -> None:
    with pytest.raises(CaffeError) as caught:
        read('layer { name: "d" type: "Data" top: "data" top: "label" }\n' + CONV + LOSS)
    (problem,) = caught.value.diagnostics
    assert (problem.layer, problem.line) == ("d", 1)
    assert "--input-size" in problem.message


@pytest.mark.parametrize(
    ("shape", "given", "channels"),
    [((2, 1, 3, 3), None, 1), ((2, 4, 3, 3), None, 4), (None, 1, 1), (None, None, 3)],
)
def test_a_data_layer_has_the_channels_that_the_weights_need(
    read: Read, shape: tuple[int, ...] | None, given: int | None, channels: int
) -> None:
    text = 'layer { name: "d" type: "Data" top: "data" top: "label" }\n' + CONV + LOSS
    found = read(text, {"c": shape} if shape else None, size=8, channels=given)
    assert found.inputs == {"data": (1, channels, 8, 8)}


WITHOUT_A_SIZE = [
    "input: 'data'\n",
    "layer { name: 'i' type: 'Input' top: 'data' }\n",
    "layer { name: 'i' type: 'Input' top: 'data' input_param { } }\n",
    "input: 'data' input_dim: [1, 4, 0, 0]\n",
    "input: 'data' input_shape { dim: [1, 4, 0, 0] }\n",
    "layer { name: 'i' type: 'Input' top: 'data' input_param { shape { dim: [1, 4, 0, 0] } } }\n",
]


@pytest.mark.parametrize("image", WITHOUT_A_SIZE)
def test_an_input_without_a_size_takes_the_given_one(read: Read, image: str) -> None:
    found = read(image + CONV, {"c": (2, 4, 3, 3)}, size=28)
    assert found.inputs == {"data": (1, 4, 28, 28)}
    assert [layer.name for layer in found.layers] == ["c"]
    assert found.training_layers == ()


@pytest.mark.parametrize("other", ["input: 'info'\n", "layer { type: 'Input' top: 'info' }\n"])
def test_beside_another_input_one_without_a_shape_is_no_image(read: Read, other: str) -> None:
    data = "layer { type: 'Input' top: 'data' input_param { shape { dim: [1, 4, 9, 9] } } }\n"
    with pytest.raises(CaffeError, match="0 shapes for 1 tops: give one, or one each"):
        read(other + data + CONV, {"c": (2, 4, 3, 3)}, size=28)


def test_dummy_data_of_no_size_takes_the_given_one(read: Read) -> None:
    dummy = (
        "layer { type: 'DummyData' top: 'data' dummy_data_param { shape { dim: [1, 4, 0, 0] } } }"
    )
    assert read(dummy + CONV, {"c": (2, 4, 3, 3)}, size=28).inputs == {"data": (1, 4, 28, 28)}


@pytest.mark.parametrize("image", WITHOUT_A_SIZE)
def test_an_input_without_a_size_needs_one(read: Read, image: str) -> None:
    with pytest.raises(CaffeError) as caught:
        read(image + CONV, {"c": (2, 4, 3, 3)})
    (problem,) = caught.value.diagnostics
    assert problem.line == 1
    assert "--input-size" in problem.message


def test_features_from_a_file_need_no_size(read: Read) -> None:
    text = (
        'layer { name: "d" type: "HDF5Data" top: "data" top: "label" }\n'
        'layer { name: "p" type: "InnerProduct" bottom: "data" top: "p" '
        "inner_product_param { num_output: 3 bias_term: false } }\n"
    )
    assert read(text, {"p": (3, 40)}).inputs == {"data": (1, 40)}


def test_the_data_layer_of_training_is_used_if_testing_has_none(read: Read) -> None:
    text = (
        'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } '
        "transform_param { crop_size: 24 } }\n"
    ) + CONV
    found = read(text + LOSS.replace('top: "l"', 'top: "l" include { phase: TRAIN }'))
    assert found.inputs == {"data": (1, 3, 24, 24)}
    assert [str(warning) for warning in found.warnings] == [
        "line 1, layer d: input data is what this layer of the other phase would read"
    ]


def test_an_input_layer_of_several_tops_gives_them_all(read: Read) -> None:
    text = (
        'layer { name: "i" type: "Input" top: "data" top: "more" '
        "input_param { shape { dim: [1, 3, 8, 8] } shape { dim: [1, 2, 6, 6] } } }\n"
    ) + CONV
    more = 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "more" top: "e" }\n'
    assert read(text + more).inputs == {"data": (1, 3, 8, 8), "more": (1, 2, 6, 6)}


@pytest.mark.parametrize(
    "more",
    [
        LOSS,
        'layer { name: "f" type: "Flatten" bottom: "label" top: "flat" }\n'
        + LOSS.replace('"label"', '"flat"'),
        'layer { name: "s" type: "Slice" bottom: "label" top: "a" top: "b" }\n'
        + LOSS.replace('"label"', '"b"'),
    ],
)
def test_a_label_among_the_declared_inputs_is_left_out(read: Read, more: str) -> None:
    text = 'input: ["data", "label"] input_shape { dim: [1, 3, 8, 8] } input_shape { dim: 1 }\n'
    found = read(text + CONV + more)
    assert list(found.inputs) == ["data"]
    assert [layer.name for layer in found.layers] == ["c"]
    assert found.outputs == ("c",)


def test_an_input_that_the_network_needs_besides_its_loss_stays(read: Read) -> None:
    text = 'input: ["data", "label"] input_shape { dim: [1, 3, 8, 8] } input_shape { dim: 1 }\n'
    eltwise = 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "label" top: "e" }\n'
    assert list(read(text + CONV + LOSS + eltwise).inputs) == ["data", "label"]


def test_an_input_that_no_layer_reads_is_left_out_with_a_warning(read: Read) -> None:
    text = 'input: ["data", "info"] input_shape { dim: [1, 3, 8, 8] } input_shape { dim: [1, 3] }\n'
    found = read(text + CONV)
    assert list(found.inputs) == ["data"]
    assert [str(warning) for warning in found.warnings] == [
        "input info is left out: no layer reads it"
    ]


def test_the_only_input_stays_even_if_no_layer_reads_it(read: Read) -> None:
    text = 'input: "data" input_shape { dim: [1, 3, 8, 8] }\n'
    dummy = 'layer { name: "w" type: "DummyData" top: "w" dummy_data_param { shape { dim: 1 } } }\n'
    relu = 'layer { name: "r" type: "ReLU" bottom: "w" top: "r" }\n'
    assert list(read(text + dummy + relu).inputs) == ["data"]


DUMMY = (
    'layer { name: "w" type: "DummyData" top: "w" dummy_data_param '
    "{ shape { dim: [1, 2, 6, 6] } data_filler { value: 2 } } }\n"
)
ADD = 'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "w" top: "e" }\n'


def test_dummy_data_beside_an_input_is_a_constant(read: Read) -> None:
    text = 'input: "data" input_shape { dim: [1, 3, 8, 8] }\n' + CONV + DUMMY + ADD
    found = read(text)
    assert list(found.inputs) == ["data"]
    assert [layer.type for layer in found.layers] == ["Convolution", "DummyData", "Eltwise"]


def test_dummy_data_of_random_numbers_is_an_input(read: Read) -> None:
    dummy = DUMMY.replace("value: 2", 'type: "gaussian"')
    text = 'input: "data" input_shape { dim: [1, 3, 8, 8] }\n' + CONV + dummy + ADD
    assert read(text).inputs == {"data": (1, 3, 8, 8), "w": (1, 2, 6, 6)}


def test_dummy_data_feeds_a_network_that_has_no_input(read: Read) -> None:
    text = (
        'layer { name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param '
        "{ shape { dim: [1, 3, 8, 8] } shape { dim: 1 } } }\n"
    )
    found = read(text + CONV + LOSS)
    assert found.inputs == {"data": (1, 3, 8, 8)}
    assert [layer.name for layer in found.layers] == ["c"]


FORK = (
    'layer { name: "t" type: "Data" top: "x" include { phase: TRAIN } '
    "transform_param { resize_param { height: 3 } resize_param { height: 4 } scale: wide } }\n"
)
DATA = 'input: "data" input_shape { dim: [1, 3, 8, 8] }\n'


def test_wrong_values_in_a_layer_of_another_phase_are_warnings(read: Read) -> None:
    found = read(DATA + CONV + FORK)
    assert [str(warning) for warning in found.warnings] == [
        "line 3, column 111, layer t: resize_param is given twice; keep one "
        "(ignored: the layer serves training only)",
        "line 3, column 145, layer t: scale: Couldn't parse float: wide "
        "(ignored: the layer serves training only)",
    ]


def test_wrong_values_in_a_loss_are_warnings(read: Read) -> None:
    loss = LOSS.replace("label", "data").replace(" }\n", " loss_param { normalization: MINE } }\n")
    (warning,) = read(DATA + CONV + loss).warnings
    assert "normalization" in str(warning)


def test_wrong_values_in_a_loss_are_problems_for_training(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    loss = LOSS.replace("label", "data").replace(" }\n", " loss_param { normalization: MINE } }\n")
    path.write_text(DATA + CONV + loss)
    with pytest.raises(CaffeError, match="normalization"):
        network.load(path, None, phase="TRAIN")


def test_wrong_values_in_a_layer_that_computes_are_problems(read: Read) -> None:
    wrong = CONV.replace("num_output: 2", "num_output: 2 num_output: 3").replace('"c"', '"w"')
    with pytest.raises(CaffeError, match="line 3, column 97: num_output is given twice"):
        read(DATA + CONV + wrong)


def test_a_parameter_that_is_not_finite_is_a_problem_of_its_layer(read: Read) -> None:
    power = 'layer { name: "p" type: "Power" bottom: "c" top: "p" power_param { scale: nan } }\n'
    with pytest.raises(CaffeError, match=r"line 3, layer p: power_param\.scale is nan"):
        read(DATA + CONV + power)


def test_a_network_without_weights_needs_none_in_the_file(tmp_path: Path) -> None:
    path, model = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    path.write_text(DATA + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }\n')
    weights.write(model, "net", {})
    assert network.load(path, model).outputs == ("r",)
    path.write_text(DATA + CONV)
    net = network.load(path, model)
    assert "it holds no layers: give the trained" in str(net.warnings[0])
    with pytest.raises(CaffeError, match="no weights for it in the caffemodel"):
        build_graph(net, GraphBuilder())


@pytest.mark.parametrize("kind", ["SoftmaxWithLossOHEM", "MultiLabelAccuracy", "WarpCTC"])
def test_the_metrics_of_forks_serve_training_only(read: Read, kind: str) -> None:
    text = 'input: ["data", "label"] input_shape { dim: [1, 3, 8, 8] } input_shape { dim: 1 }\n'
    found = read(text + CONV + LOSS.replace("SoftmaxWithLoss", kind))
    assert list(found.inputs) == ["data"]
    assert found.outputs == ("c",)


READER = 'layer { name: "s" type: "Scale" bottom: "p" top: "s" scale_param { num_axes: 0 } }\n'
TWO_TOPS = LOSS.replace('top: "l" ', 'top: "l" top: "p" softmax_param { axis: 2 } ')


def test_the_softmax_within_a_loss_computes_where_the_network_reads_it(read: Read) -> None:
    """SoftmaxWithLoss can also give the probabilities, for a region proposal network."""
    text = 'input: ["data", "label"] input_shape { dim: [1, 3, 8, 8] } input_shape { dim: 1 }\n'
    found = read(text + CONV + TWO_TOPS + READER)
    _, softmax, _ = found.layers
    assert (softmax.name, softmax.type) == ("l", "Softmax")
    assert (softmax.bottoms, softmax.tops) == (("c",), ("p",))
    assert softmax.parameter.softmax_param.axis == 2
    assert found.outputs == ("s",)
    assert [layer.name for layer in found.training_layers] == ["l"]


@pytest.mark.parametrize("reader", ["", READER.replace("Scale", "Accuracy")])
def test_the_softmax_within_a_loss_serves_training_where_no_layer_reads_it(
    read: Read, reader: str
) -> None:
    text = 'input: ["data", "label"] input_shape { dim: [1, 3, 8, 8] } input_shape { dim: 1 }\n'
    found = read(text + CONV + TWO_TOPS + reader)
    assert [layer.name for layer in found.layers] == ["c"]
    assert found.outputs == ("c",)


def test_a_second_top_of_a_data_layer_can_be_an_input(read: Read) -> None:
    """Such as the flags of a recurrent network, in an HDF5 file."""
    data = 'layer { name: "d" type: "HDF5Data" top: "data" top: "cont" }\n'
    cut = 'layer { name: "x" type: "Eltwise" bottom: "c" bottom: "cont" top: "x" }\n'
    with pytest.raises(CaffeError) as caught:
        read(data + CONV + cut, size=8)
    (problem,) = caught.value.diagnostics
    assert problem.layer == "x"
    assert "where layer d makes it; if the network needs it" in problem.message
    assert "put an Input layer for each top in its place" in problem.message


def test_the_image_comes_first_whatever_the_order_of_the_prototxt(read: Read) -> None:
    text = (
        'input: ["rois", "data"] input_shape { dim: [1, 5, 1, 1] } '
        "input_shape { dim: [1, 3, 8, 8] }\n"
    )
    pool = 'layer { name: "p" type: "ROIPooling" bottom: "c" bottom: "rois" top: "p" }\n'
    found = read(text + CONV + pool)
    assert list(found.inputs) == ["data", "rois"]
    assert read(text + CONV + pool, size=9).inputs == {
        "data": (1, 3, 9, 9),
        "rois": (1, 5, 1, 1),
    }
