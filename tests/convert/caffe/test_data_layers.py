import numpy as np
import pytest

from convert.caffe import data_layers, prototxt
from convert.caffe.caffe_pb2 import LayerParameter, NetParameter
from convert.caffe.weights import Blobs


def layer(text: str) -> LayerParameter:
    return prototxt.parse(f"layer {{ {text} }}", NetParameter).message.layer[0]


def blob(*shape: int) -> Blobs:
    return (np.zeros(shape, np.float32),)


@pytest.mark.parametrize(
    ("text", "is_data"),
    [
        ("type: 'Data'", True),
        ("type: 'ImageSegData' top: 'data'", True),
        ("type: 'HDF5Data'", True),
        ("type: 'DummyData'", False),
        ("type: 'Input'", False),
        ("type: 'MaskData' bottom: 'x'", False),
        ("type: 'Convolution'", False),
    ],
)
def test_a_data_layer_is_recognised_by_its_name_and_lack_of_bottoms(
    text: str, is_data: bool
) -> None:
    assert data_layers.is_data_layer(layer(text)) is is_data


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("type: 'Data'", None),
        ("type: 'Data' transform_param { crop_size: 227 }", (227, 227)),
        ("type: 'Data' transform_param { crop_h: 20 crop_w: 30 }", (20, 30)),
        ("type: 'Data' data_param { crop_size: 40 }", (40, 40)),
        ("type: 'WindowData' window_data_param { crop_size: 41 }", (41, 41)),
        ("type: 'AnnotatedData' transform_param { resize_param { height: 2 width: 3 } }", (2, 3)),
        (
            "type: 'Data' transform_param { crop_size: 9 resize_param { height: 2 width: 3 } }",
            (9, 9),
        ),
        ("type: 'ImageData' image_data_param { new_height: 4 new_width: 5 }", (4, 5)),
        ("type: 'ImageData' image_data_param { crop_size: 8 }", (8, 8)),
        ("type: 'MemoryData' memory_data_param { height: 4 width: 5 }", (4, 5)),
    ],
)
def test_a_data_layer_states_its_size_in_many_places(
    text: str, size: tuple[int, int] | None
) -> None:
    assert data_layers.stated_size(layer(text)) == size


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("type: 'Data'", None),
        # One mean value is the mean of all channels.
        ("type: 'Data' transform_param { mean_value: 128 }", None),
        ("type: 'Data' transform_param { force_gray: true }", 1),
        ("type: 'Data' transform_param { force_color: true }", 3),
        ("type: 'ImageData' image_data_param { is_color: false }", 1),
        ("type: 'MemoryData' memory_data_param { channels: 7 }", 7),
    ],
)
def test_a_data_layer_may_state_its_channels(text: str, channels: int | None) -> None:
    assert data_layers.stated_channels(layer(text)) == channels


CONVOLUTION = "name: 'c' type: 'Convolution' bottom: 'data' top: 'c' convolution_param { group: 2 }"
PRODUCT = "name: 'p' type: 'InnerProduct' bottom: 'data' top: 'p'"


@pytest.mark.parametrize(
    ("texts", "blobs", "channels"),
    [
        ([CONVOLUTION], {"c": blob(8, 3, 5, 5)}, 6),
        ([CONVOLUTION], {}, None),
        (
            ["name: 'd' type: 'DepthwiseConvolution' bottom: 'data' top: 'd'"],
            {"d": blob(5, 1, 3, 3)},
            5,
        ),
        ([PRODUCT], {"p": blob(10, 24)}, 2),
        ([PRODUCT], {"p": blob(1, 1, 10, 24)}, 2),
        ([PRODUCT + " inner_product_param { transpose: true }"], {"p": blob(24, 10)}, 2),
        ([PRODUCT], {"p": blob(10, 25)}, None),
        (
            [
                "name: 's' type: 'Power' bottom: 'data' top: 's'",
                "name: 'r' type: 'Reshape' bottom: 's' top: 'x'",
                CONVOLUTION.replace("'data'", "'s'"),
            ],
            {"c": blob(8, 1, 5, 5)},
            2,
        ),
        # A Slice feeds each of two branches, the second from channel 3 on.
        (
            [
                "name: 's' type: 'Slice' bottom: 'data' top: 'y' top: 'x' "
                "slice_param { slice_dim: 1 slice_point: 3 }",
                CONVOLUTION.replace("data", "x"),
            ],
            {"c": blob(8, 1, 5, 5)},
            5,
        ),
        (
            [
                "name: 's' type: 'Slice' bottom: 'data' top: 'y' top: 'x'",
                CONVOLUTION.replace("data", "x"),
            ],
            {"c": blob(8, 1, 5, 5)},
            4,
        ),
        # The convolution reads what another layer made.
        (
            ["name: 's' type: 'Flatten' bottom: 'data' top: 'x'", CONVOLUTION.replace("data", "x")],
            {"c": blob(8, 1, 5, 5)},
            None,
        ),
    ],
)
def test_channels_follow_from_the_weights_after_the_data(
    texts: list[str], blobs: dict[str, Blobs], channels: int | None
) -> None:
    assert (
        data_layers.fed_channels("data", (3, 4), [layer(text) for text in texts], blobs) == channels
    )


def test_a_fully_connected_layer_states_its_number_of_features() -> None:
    assert data_layers.fed_features("data", [layer(PRODUCT)], {"p": blob(10, 24)}) == 24
    assert data_layers.fed_features("data", [layer(CONVOLUTION)], {"c": blob(8, 3, 1, 1)}) is None
    assert data_layers.fed_features("other", [layer(PRODUCT)], {"p": blob(10, 24)}) is None


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("top: 'a' dummy_data_param { shape { dim: [1, 2] } }", [(1, 2)]),
        ("top: ['a', 'b'] dummy_data_param { shape { dim: [1, 2] } }", [(1, 2), (1, 2)]),
        ("top: ['a', 'b'] dummy_data_param { shape { dim: 1 } shape { dim: 2 } }", [(1,), (2,)]),
        ("top: 'a' dummy_data_param { num: 1 channels: 2 height: 3 width: 4 }", [(1, 2, 3, 4)]),
        (
            "top: ['a', 'b'] dummy_data_param { num: [1, 5] channels: 2 height: 3 width: 4 }",
            [(1, 2, 3, 4), (5, 2, 3, 4)],
        ),
        ("top: ['a', 'b', 'c'] dummy_data_param { shape { dim: 1 } shape { dim: 2 } }", []),
        ("top: 'a' dummy_data_param { num: 1 }", []),
    ],
)
def test_dummy_data_has_a_shape_for_each_top(text: str, shapes: list[tuple[int, ...]]) -> None:
    assert data_layers.dummy_shapes(layer("type: 'DummyData' " + text)) == shapes


@pytest.mark.parametrize(
    ("fillers", "is_constant"),
    [
        ("", True),
        ("data_filler { value: 2 }", True),
        ("data_filler { type: 'constant' } data_filler { type: 'gaussian' }", False),
    ],
)
def test_dummy_data_is_constant_if_every_filler_is(fillers: str, is_constant: bool) -> None:
    found = data_layers.is_constant(layer(f"dummy_data_param {{ {fillers} }}"))
    assert found is is_constant
