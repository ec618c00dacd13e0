import numpy as np
import onnxruntime
import pytest

from convert.graph import GraphBuilder
from convert.outputs.preprocessing import ChannelOrder, Preprocessing
from sfd.errors import UsageError


@pytest.mark.parametrize(
    ("channels", "order", "mean", "scale"),
    [
        (3, ChannelOrder.BGR, (104.0, 117.0, 123.0), 1.0),
        (3, ChannelOrder.RGB, (123.0, 117.0, 104.0), 1.0),
        (3, ChannelOrder.BGR, (127.5,), 1 / 127.5),
        (3, ChannelOrder.RGB, (0.0,), 1.0),
        (1, ChannelOrder.GRAY, (104.0,), 0.25),
    ],
)
def test_the_graph_does_what_caffes_transform_does(
    channels: int, order: ChannelOrder, mean: tuple[float, ...], scale: float
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, channels), np.uint8)
    preprocessing = Preprocessing.of(channels, order, mean, scale)
    graph = GraphBuilder()
    value = preprocessing.add(graph, (channels, 5, 7), "data")
    graph.output(value.name, value)
    session = onnxruntime.InferenceSession(
        graph.model("test").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"images": images})[0]
    ordered = images[..., ::-1] if order is ChannelOrder.BGR else images
    expected = ((ordered - np.asarray(mean)) * scale).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(preprocessing.apply(images), found)
    assert graph.blobs["data"] is value


@pytest.mark.parametrize(
    ("channels", "order", "expected"),
    [
        (3, None, (ChannelOrder.BGR, (104, 117, 123))),
        (3, ChannelOrder.RGB, (ChannelOrder.RGB, (123, 117, 104))),
        (1, None, (ChannelOrder.GRAY, (pytest.approx(344 / 3),))),
    ],
)
def test_the_usual_mean_follows_the_channels(
    channels: int, order: ChannelOrder | None, expected: tuple[ChannelOrder, tuple[float, ...]]
) -> None:
    found = Preprocessing.of(channels, order)
    assert (found.channel_order, found.mean) == expected


def test_one_mean_serves_all_channels() -> None:
    assert Preprocessing.of(3, mean=(5.0,)).mean == (5.0, 5.0, 5.0)


@pytest.mark.parametrize(
    ("channels", "order", "mean", "scale", "message"),
    [
        (4, None, None, 1.0, "takes 4 channels, but images have 1 or 3"),
        (3, ChannelOrder.GRAY, None, 1.0, "gray does not fit a network of 3 channels"),
        (1, ChannelOrder.RGB, None, 1.0, "rgb does not fit a network of 1 channel$"),
        (1, None, (1.0, 2.0), 1.0, "takes 1 channel: give one value$"),
        (3, None, (1.0, 2.0), 1.0, "has 2 values, but the network takes 3 channels"),
        (3, None, (float("nan"),), 1.0, "--mean nan,nan,nan: a value is not finite"),
        (
            3,
            None,
            (1.0, 1e39, 1.0),
            1.0,
            "--mean 1.0,1e[+]39,1.0: a value is not finite in float32",
        ),
        (3, None, None, float("inf"), "--scale inf is not finite"),
        (3, None, None, -1e39, "--scale -1e[+]39 is not finite in float32"),
        (3, None, None, 1e-60, "--scale 1e-60 is 0 in float32"),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(
    channels: int,
    order: ChannelOrder | None,
    mean: tuple[float, ...] | None,
    scale: float,
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocessing.of(channels, order, mean, scale)
