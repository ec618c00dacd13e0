"""Prototxts of known architectures, generated: no file is copied."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.convert.zoo.writer import Net


def vgg(side: int = 224, blocks: Sequence[tuple[int, int]] = (), dense: int = 4096) -> str:
    """VGG-16 (Simonyan and Zisserman, 2014), or one with other blocks of (layers, channels)."""
    net = Net(side)
    top = "data"
    for layers, channels in blocks or ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(layers):
            top = net.conv_relu(top, channels)
        top = net.pool(top)
    for _ in range(2):
        top = net.layer("Dropout", net.layer("ReLU", net.dense(top, dense)))
    net.layer("Softmax", net.dense(top, 1000))
    return net.text


def resnet(side: int = 224, blocks: Sequence[int] = (2, 2, 2, 2), width: int = 64) -> str:
    """ResNet-18 (He et al., 2015), or one of other numbers of basic blocks."""
    net = Net(side)
    top = net.pool(net.layer("ReLU", net.conv_norm("data", width, 7, 2)), 3, 2)
    for stage, count in enumerate(blocks):
        outputs = width << stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            short = net.conv_norm(top, outputs, 1, stride) if stride > 1 else top
            first = net.layer("ReLU", net.conv_norm(top, outputs, 3, stride))
            total = net.layer("Eltwise", [short, net.conv_norm(first, outputs)])
            top = net.layer("ReLU", total)
    net.classify(top, 1000)
    return net.text


def mobilenet(side: int = 224, width: float = 1.0) -> str:
    """MobileNet v1 (Howard et al., 2017)."""
    net = Net(side)
    channels = int(32 * width)
    top = net.layer("ReLU", net.conv_norm("data", channels, 3, 2))
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    widths = (64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)
    for outputs, stride in zip(widths, strides, strict=True):
        top = net.layer("ReLU", net.depthwise(top, channels, stride))
        channels = int(outputs * width)
        top = net.layer("ReLU", net.conv_norm(top, channels, 1))
    net.classify(top, 1000)
    return net.text


def squeezenet(side: int = 227) -> str:
    """SqueezeNet 1.1 (Iandola et al., 2016)."""
    net = Net(side)
    top = net.pool(net.conv_relu("data", 64, 3, 2), 3, 2)
    for index, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        if index in (2, 4):
            top = net.pool(top, 3, 2)
        narrow = net.conv_relu(top, squeeze, 1)
        wide = [net.conv_relu(narrow, 4 * squeeze, kernel) for kernel in (1, 3)]
        top = net.layer("Concat", wide)
    top = net.layer(
        "Pooling", net.conv_relu(top, 1000, 1), "pooling_param { pool: AVE global_pooling: true }"
    )
    net.layer("Softmax", top)
    return net.text


def googlenet(side: int = 224) -> str:
    """GoogLeNet (Szegedy et al., 2014), without its auxiliary classifiers."""
    net = Net(side)
    top = net.pool(net.conv_relu("data", 64, 7, 2), 3, 2)
    top = net.layer("LRN", top, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    top = net.pool(net.conv_relu(net.conv_relu(top, 64, 1), 192), 3, 2)
    for index, (a, b, c, d, e, f) in enumerate((
        (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128), (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
    )):  # fmt: skip
        if index in (2, 7):
            top = net.pool(top, 3, 2)
        pooled = net.layer(
            "Pooling", top, "pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 }"
        )
        branches = [
            net.conv_relu(top, a, 1),
            net.conv_relu(net.conv_relu(top, b, 1), c),
            net.conv_relu(net.conv_relu(top, d, 1), e, 5),
            net.conv_relu(pooled, f, 1),
        ]
        top = net.layer("Concat", branches)
    net.classify(top, 1000)
    return net.text


def fcn(side: int = 256, classes: int = 21) -> str:
    """A fully convolutional segmenter (Long et al., 2014): upsampling and one skip connection."""
    net = Net(side)
    top, skip = "data", ""
    for channels in (32, 64, 128):
        skip, top = top, net.pool(net.conv_relu(net.conv_relu(top, channels), channels))
    score = net.conv(top, classes, 1)
    up = net.layer(
        "Deconvolution",
        score,
        f"convolution_param {{ num_output: {classes} kernel_size: 4 stride: 2 pad: 1 "
        'bias_term: false weight_filler { type: "bilinear" } }',
    )
    net.layer("Softmax", net.layer("Eltwise", [up, net.conv(skip, classes, 1)]))
    return net.text


ARCHITECTURES: Mapping[str, Callable[[], str]] = {
    "VGG-16": vgg,
    "ResNet-18": resnet,
    "MobileNet v1": mobilenet,
    "SqueezeNet 1.1": squeezenet,
    "GoogLeNet": googlenet,
    "FCN, small": fcn,
}


def small() -> Iterator[tuple[str, str]]:
    """The same architectures for small images, and VGG with few channels."""
    yield "vgg", vgg(32, ((1, 4), (1, 8)), 16)
    yield "resnet", resnet(64, (1, 1), 8)
    yield "mobilenet", mobilenet(64, 0.25)
    yield "squeezenet", squeezenet(67)
    yield "fcn", fcn(64)
