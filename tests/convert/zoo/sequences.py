"""Networks that read text, and some that read signals."""

from collections.abc import Iterator

from tests.convert.zoo.writer import Net


def networks() -> Iterator[tuple[str, str]]:
    """Name and prototxt of each."""
    yield "plate-characters", characters()
    yield "text-classifier", text_classifier()
    yield "textboxes", textboxes()
    yield "east", east()
    yield "crnn-columns", columns()
    yield "keyword-spotting", keywords()
    yield "digit-string", digit_string()


def characters() -> str:
    """A classifier of gray characters, with a power and an exponent in front."""
    net = Net(32, channels=1)
    top = net.layer("Power", "data", "power_param { scale: 0.0078125 shift: -1.0 }")
    for channels in (12, 16, 24):
        top = net.pool(net.conv_norm_relu(top, channels))
    net.layer("Softmax", net.dense(net.relu(net.dense(top, 40)), 36))
    return net.text


def text_classifier() -> str:
    """Jaderberg et al. 2014: maxout of four groups, without padding."""
    net = Net(24, channels=1)
    top = "data"
    for channels, kernel in ((12, 9), (16, 9), (20, 8)):
        made = net.conv(top, 2 * channels, kernel, pad=0)
        cut = net.layer("Slice", made, f"slice_param {{ slice_point: {channels} }}", tops=2)
        top = net.layer("Eltwise", (cut, f"{cut}_1"), "eltwise_param { operation: MAX }")
    net.layer("Softmax", net.conv(top, 2, 1, pad=0))
    return net.text


def textboxes() -> str:
    """Liao et al. 2016: heads with kernels of 1 x 5."""
    net = Net(64, width=128)
    top = "data"
    for channels in (8, 12, 16):
        top = net.pool(net.conv_relu(top, channels))
    for outputs in (8, 24):
        made = net.layer(
            "Convolution",
            top,
            f"convolution_param {{ num_output: {outputs} kernel_h: 1 kernel_w: 5 pad_h: 0 "
            "pad_w: 2 }",
        )
        net.layer("Permute", made, "permute_param { order: 0 order: 2 order: 3 order: 1 }")
    return net.text


def east() -> str:
    """Zhou et al. 2017: merged maps, a score and a geometry."""
    net = Net(64, width=96)
    kept, top = [], "data"
    for channels in (8, 12, 16, 24):
        top = net.conv_norm_relu(top, channels, 3, 2)
        kept.append(top)
    for each, channels in ((kept[2], 16), (kept[1], 12)):
        up = net.upsample(top, 24 if each == kept[2] else 16, group=8)
        top = net.conv_norm_relu(net.concat(up, each), channels)
    net.layer("Sigmoid", net.conv(top, 1, 1))
    box = net.layer("Sigmoid", net.conv(top, 4, 1))
    net.layer("Power", box, "power_param { scale: 512.0 }")
    return net.text


def columns() -> str:
    """The convolutions of Shi et al. 2015: one column of features for each step in time."""
    net = Net(32, channels=1, width=96)
    top = net.pool(net.conv_relu("data", 8))
    top = net.pool(net.conv_relu(top, 12))
    for _ in range(2):
        top = net.layer(
            "Pooling",
            net.conv_norm_relu(top, 16),
            "pooling_param { pool: MAX kernel_h: 2 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 0 "
            "pad_w: 1 }",
        )
    top = net.relu(net.conv(top, 16, 2, pad=0))
    turned = net.layer("Permute", top, "permute_param { order: 0 order: 3 order: 1 order: 2 }")
    scores = net.layer("InnerProduct", turned, "inner_product_param { num_output: 12 axis: 2 }")
    net.layer("Softmax", scores, "softmax_param { axis: 2 }")
    return net.text


def keywords() -> str:
    """Sainath and Parada 2015: convolutions over time and frequency of a spectrogram."""
    net = Net(40, channels=1, width=98)
    top = net.layer(
        "Convolution",
        "data",
        "convolution_param { num_output: 12 kernel_h: 8 kernel_w: 20 stride_h: 1 stride_w: 2 }",
    )
    top = net.pool(net.relu(top), 3, 3)
    net.layer("Softmax", net.dense(net.dense(top, 24), 12))
    return net.text


def digit_string() -> str:
    """Goodfellow et al. 2013: a softmax for each digit, side by side."""
    net = Net(54)
    top = "data"
    for channels, stride in ((12, 2), (16, 1), (20, 2), (24, 1)):
        top = net.pool(net.conv_relu(top, channels, 5), 2, stride)
    top = net.relu(net.dense(top, 48))
    net.concat(*(net.layer("Softmax", net.dense(top, 11)) for _ in range(4)))
    return net.text
