"""Classifiers."""

from collections.abc import Iterator, Sequence

from tests.convert.zoo.writer import Net


def networks() -> Iterator[tuple[str, str]]:
    """Name and prototxt of each."""
    yield "lenet", lenet()
    yield "cifar10-quick", cifar10(("MAX", "AVE", "AVE"))
    yield "cifar10-full", cifar10(("MAX", "AVE", "AVE"), lrn=True)
    yield "alexnet", alexnet(first_norm=True)
    yield "caffenet", alexnet(first_norm=False)
    yield "zfnet", zfnet()
    yield "network-in-network", network_in_network()
    for depth, layers in (
        (11, (1, 1, 2, 2, 2)), (13, (2, 2, 2, 2, 2)), (16, (2, 2, 3, 3, 3)), (19, (2, 2, 4, 4, 4)),
    ):  # fmt: skip
        yield f"vgg-{depth}", vgg(layers)
    yield "vgg-16-bn", vgg((2, 2, 3, 3, 3), normalized=True)
    for depth, blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):
        yield f"resnet-{depth}", resnet(blocks, bottleneck=False)
    for depth, blocks in ((50, (3, 4, 6, 3)), (101, (3, 4, 23, 3))):
        yield f"resnet-{depth}", resnet(blocks, bottleneck=True)
    yield "resnet-18-preactivated", preactivated_resnet((2, 2, 2, 2))
    yield "wide-resnet", resnet((2, 2, 2), bottleneck=False, width=24)
    yield "resnext-50", resnet((3, 4, 6, 3), bottleneck=True, groups=4)
    yield "se-resnet-50", resnet((3, 4, 6, 3), bottleneck=True, squeeze="Scale")
    yield "se-resnext-50-axpy", resnet((3, 4, 6, 3), bottleneck=True, groups=4, squeeze="Axpy")
    for depth, blocks in ((121, (6, 12, 24, 16)), (169, (6, 12, 32, 32))):
        yield f"densenet-{depth}", densenet(blocks)
    yield "googlenet", googlenet()
    yield "googlenet-bn", googlenet(normalized=True)
    yield "inception-v3", inception_v3()
    yield "inception-resnet", inception_resnet()
    yield "xception", xception()
    for width in (4, 8):
        yield f"mobilenet-v1-{width}", mobilenet_v1(width)
    yield "mobilenet-v1-depthwise-layers", mobilenet_v1(8, kind="DepthwiseConvolution")
    yield "mobilenet-v2", mobilenet_v2()
    yield "mobilenet-v3", mobilenet_v3()
    yield "shufflenet-v1", shufflenet_v1()
    yield "shufflenet-v2", shufflenet_v2()
    yield "squeezenet-1.0", squeezenet(first=7)
    yield "squeezenet-1.1", squeezenet(first=3)
    yield "dpn", dual_path()
    yield "maxout", maxout()
    yield "elu-net", elu_net()


def lenet() -> str:
    """LeCun et al. 1998, as BVLC has it."""
    net = Net(28, channels=1)
    top = net.pool(net.conv("data", 20, 5, pad=0))
    top = net.pool(net.conv(top, 50, 5, pad=0))
    net.layer("Softmax", net.dense(net.relu(net.dense(top, 60)), 10))
    return net.text


def cifar10(pools: Sequence[str], *, lrn: bool = False) -> str:
    """Krizhevsky's cuda-convnet, as BVLC has it."""
    net = Net(32)
    top = "data"
    for channels, kind in zip((16, 16, 32), pools, strict=True):
        top = net.relu(net.pool(net.conv(top, channels, 5), 3, 2, kind=kind))
        if lrn and channels == 16:
            top = net.layer(
                "LRN",
                top,
                "lrn_param { local_size: 3 alpha: 5e-05 beta: 0.75 norm_region: WITHIN_CHANNEL }",
            )
    net.layer("Softmax", net.dense(top, 10))
    return net.text


def alexnet(*, first_norm: bool) -> str:
    """Krizhevsky et al. 2012; CaffeNet pools before it normalizes."""
    net = Net(115)
    lrn = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    top = net.relu(net.conv("data", 24, 11, 4, pad=0))
    top = (
        net.pool(net.layer("LRN", top, lrn), 3)
        if first_norm
        else net.layer("LRN", net.pool(top, 3), lrn)
    )
    top = net.conv_relu(top, 32, 5, more="group: 2")
    top = (
        net.pool(net.layer("LRN", top, lrn), 3)
        if first_norm
        else net.layer("LRN", net.pool(top, 3), lrn)
    )
    top = net.conv_relu(top, 48)
    top = net.conv_relu(top, 48, more="group: 2")
    top = net.pool(net.conv_relu(top, 32, more="group: 2"), 3)
    for _ in range(2):
        top = net.layer("Dropout", net.relu(net.dense(top, 64)))
    net.layer("Softmax", net.dense(top, 20))
    return net.text


def zfnet() -> str:
    """Zeiler and Fergus 2013."""
    net = Net(112)
    lrn = "lrn_param { local_size: 3 alpha: 0.00005 beta: 0.75 norm_region: ACROSS_CHANNELS }"
    top = net.pool(net.layer("LRN", net.conv_relu("data", 16, 7, 2), lrn), 3)
    top = net.pool(net.layer("LRN", net.conv_relu(top, 24, 5, 2), lrn), 3)
    for channels in (32, 32, 24):
        top = net.conv_relu(top, channels)
    net.classify(top)
    return net.text


def network_in_network() -> str:
    """Lin et al. 2013."""
    net = Net(64)
    top = "data"
    for channels, kernel in ((24, 5), (32, 5), (32, 3)):
        for size in (kernel, 1, 1):
            top = net.conv_relu(top, channels, size)
        top = net.layer("Dropout", net.pool(top, 3, 2))
    net.layer("Softmax", net.average(net.conv_relu(top, 20, 1)))
    return net.text


def vgg(layers: Sequence[int], *, normalized: bool = False) -> str:
    """Simonyan and Zisserman 2014."""
    net = Net(64)
    top = "data"
    for count, channels in zip(layers, (8, 16, 24, 32, 32), strict=True):
        for _ in range(count):
            top = (net.conv_norm_relu if normalized else net.conv_relu)(top, channels)
        top = net.pool(top)
    for _ in range(2):
        top = net.layer("Dropout", net.relu(net.dense(top, 48)))
    net.layer("Softmax", net.dense(top, 20))
    return net.text


def resnet(
    blocks: Sequence[int],
    *,
    bottleneck: bool,
    width: int = 8,
    groups: int = 1,
    squeeze: str = "",
) -> str:
    """He et al. 2015; ResNeXt (Xie et al. 2016) by groups; squeeze and excitation (Hu et al. 2017).

    `squeeze` is the layer that scales the channels: Scale with two bottoms, or the authors' Axpy.
    """
    net = Net(64)
    top = net.pool(net.conv_norm_relu("data", width, 7, 2), 3)
    for stage, count in enumerate(blocks):
        inner = width << stage
        outputs = 4 * inner if bottleneck else inner
        for block in range(count):
            stride = 2 if stage and not block else 1
            short = net.conv_norm(top, outputs, 1, stride) if not block else top
            if bottleneck:
                body = net.conv_norm_relu(top, inner, 1, stride)
                body = net.conv_norm_relu(body, inner, more=f"group: {groups}")
                body = net.conv_norm(body, outputs, 1)
            else:
                body = net.conv_norm(net.conv_norm_relu(top, outputs, 3, stride), outputs)
            top = net.relu(_join(net, short, body, outputs, squeeze))
    net.classify(top)
    return net.text


def _join(net: Net, short: str, body: str, outputs: int, squeeze: str) -> str:
    if not squeeze:
        return net.add(short, body)
    gate = net.conv_relu(net.average(body), max(outputs // 8, 2), 1)
    gate = net.layer("Sigmoid", net.conv(gate, outputs, 1))
    if squeeze == "Axpy":
        return net.layer("Axpy", (gate, body, short))
    flat = net.layer("Flatten", gate)
    return net.add(short, net.layer("Scale", (body, flat), "scale_param { axis: 0 }"))


def preactivated_resnet(blocks: Sequence[int]) -> str:
    """He et al. 2016."""
    net = Net(64)
    top = net.conv("data", 8, 3)
    for stage, count in enumerate(blocks):
        outputs = 8 << stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            active = net.relu(net.norm(top))
            short = net.conv(active, outputs, 1, stride) if not block else top
            body = net.relu(net.norm(net.conv(active, outputs, 3, stride)))
            top = net.add(short, net.conv(body, outputs))
    net.classify(net.relu(net.norm(top)))
    return net.text


def densenet(blocks: Sequence[int], growth: int = 4) -> str:
    """Huang et al. 2016."""
    net = Net(64)
    channels = 2 * growth
    top = net.pool(net.conv_norm_relu("data", channels, 7, 2), 3, 2, 1)
    for index, count in enumerate(blocks):
        for _ in range(count):
            body = net.conv(net.relu(net.norm(top)), 4 * growth, 1)
            top = net.concat(top, net.conv(net.relu(net.norm(body)), growth))
            channels += growth
        if index < len(blocks) - 1:
            channels //= 2
            top = net.pool(net.conv(net.relu(net.norm(top)), channels, 1), kind="AVE")
    net.classify(net.relu(net.norm(top)))
    return net.text


INCEPTIONS = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128), (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip


def googlenet(*, normalized: bool = False) -> str:
    """Szegedy et al. 2014, a quarter of its width, without the auxiliary classifiers."""
    net = Net(96)
    step = net.conv_norm_relu if normalized else net.conv_relu
    top = net.pool(step("data", 16, 7, 2), 3)
    if not normalized:
        top = net.layer("LRN", top, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    top = net.pool(step(step(top, 16, 1), 48), 3)
    for index, widths in enumerate(INCEPTIONS):
        a, b, c, d, e, f = (max(width // 4, 2) for width in widths)
        if index in (2, 7):
            top = net.pool(top, 3)
        top = net.concat(
            step(top, a, 1),
            step(step(top, b, 1), c),
            step(step(top, d, 1), e, 5),
            step(net.pool(top, 3, 1, 1), f, 1),
        )
    net.classify(top)
    return net.text


def _asymmetric(net: Net, bottom: str, outputs: int, length: int) -> str:
    """A 1 x n convolution and an n x 1 convolution."""
    pad = length // 2
    for size in (f"kernel_h: 1 kernel_w: {length} pad_h: 0 pad_w: {pad}",
                 f"kernel_h: {length} kernel_w: 1 pad_h: {pad} pad_w: 0"):  # fmt: skip
        bottom = net.relu(
            net.norm(
                net.layer(
                    "Convolution",
                    bottom,
                    f"convolution_param {{ num_output: {outputs} {size} bias_term: false }}",
                )
            )
        )
    return bottom


def inception_v3() -> str:
    """Szegedy et al. 2015: factorized convolutions."""
    net = Net(107)
    top = net.relu(net.norm(net.conv("data", 8, 3, 2, pad=0)))
    top = net.relu(net.norm(net.conv(top, 8, 3, pad=0)))
    top = net.pool(net.conv_norm_relu(top, 16), 3)
    top = net.pool(net.conv_norm_relu(net.conv_norm_relu(top, 20, 1), 24), 3)
    for _ in range(3):
        top = net.concat(
            net.conv_norm_relu(top, 16, 1),
            net.conv_norm_relu(net.conv_norm_relu(top, 12, 1), 16, 5),
            net.conv_norm_relu(net.conv_norm_relu(net.conv_norm_relu(top, 16, 1), 24), 24),
            net.conv_norm_relu(net.pool(top, 3, 1, 1, "AVE"), 8, 1),
        )
    for _ in range(4):
        top = net.concat(
            net.conv_norm_relu(top, 24, 1),
            _asymmetric(net, net.conv_norm_relu(top, 16, 1), 24, 7),
            _asymmetric(net, _asymmetric(net, net.conv_norm_relu(top, 16, 1), 16, 7), 24, 7),
            net.conv_norm_relu(net.pool(top, 3, 1, 1, "AVE"), 24, 1),
        )
    net.classify(net.layer("Dropout", top))
    return net.text


def inception_resnet() -> str:
    """Szegedy et al. 2016: inception blocks with scaled residuals."""
    net = Net(75)
    top = net.pool(net.conv_norm_relu(net.conv_norm_relu("data", 8, 3, 2), 24), 3)
    for _ in range(4):
        mixed = net.concat(
            net.conv_norm_relu(top, 8, 1),
            net.conv_norm_relu(net.conv_norm_relu(top, 8, 1), 8),
            net.conv_norm_relu(net.conv_norm_relu(net.conv_norm_relu(top, 8, 1), 12), 16),
        )
        body = net.conv(mixed, 24, 1)
        top = net.relu(
            net.layer("Eltwise", (top, body), "eltwise_param { coeff: 1.0 coeff: 0.17 }")
        )
    net.classify(top)
    return net.text


def xception() -> str:
    """Chollet 2016: depthwise separable convolutions."""
    net = Net(64)
    channels = 16
    top = net.conv_norm_relu(net.conv_norm_relu("data", 8, 3, 2), channels)
    for outputs in (24, 32, 48):
        body = top
        for wide in (outputs, outputs):
            body = net.conv_norm(net.depthwise(net.relu(body), channels), wide, 1)
            channels = wide
        top = net.add(net.conv_norm(top, outputs, 1, 2), net.pool(body, 3))
    net.classify(top)
    return net.text


def mobilenet_v1(width: int, *, kind: str = "Convolution") -> str:
    """Howard et al. 2017; `kind` is the layer of its depthwise convolutions."""
    net = Net(64)
    channels = width
    top = net.conv_norm_relu("data", channels, 3, 2)
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    widths = (2, 4, 4, 8, 8, *(16,) * 6, 32, 32)
    for factor, stride in zip(widths, strides, strict=True):
        if kind == "Convolution":
            top = net.relu(net.depthwise(top, channels, stride))
        else:
            top = net.relu(net.norm(net.conv(top, channels, 3, stride, kind=kind)))
        channels = factor * width
        top = net.conv_norm_relu(top, channels, 1)
    net.classify(top)
    return net.text


def mobilenet_v2() -> str:
    """Sandler et al. 2018, with ReLU6."""
    net = Net(64)
    channels = 8
    top = net.layer("ReLU6", net.conv_norm("data", channels, 3, 2))
    for expansion, outputs, count, stride in (
        (1, 4, 1, 1), (6, 6, 2, 2), (6, 8, 3, 2), (6, 16, 4, 2), (6, 24, 3, 1), (6, 40, 3, 2),
        (6, 80, 1, 1),
    ):  # fmt: skip
        for index in range(count):
            step = stride if index == 0 else 1
            body = top
            if expansion > 1:
                body = net.layer("ReLU6", net.conv_norm(body, channels * expansion, 1))
            body = net.layer("ReLU6", net.depthwise(body, channels * expansion, step))
            body = net.conv_norm(body, outputs, 1)
            top = net.add(top, body) if step == 1 and channels == outputs else body
            channels = outputs
    net.classify(net.layer("ReLU6", net.conv_norm(top, 160, 1)))
    return net.text


def mobilenet_v3() -> str:
    """Howard et al. 2019: hard swish as ReLU6(x + 3) * x / 6 and squeezes with a hard sigmoid."""
    net = Net(64)

    def hard(bottom: str) -> str:
        shifted = net.layer("ReLU6", net.layer("Power", bottom, "power_param { shift: 3.0 }"))
        return net.layer("Power", shifted, "power_param { scale: 0.16666667 }")

    def swish(bottom: str) -> str:
        return net.layer("Eltwise", (bottom, hard(bottom)), "eltwise_param { operation: PROD }")

    channels = 8
    top = swish(net.conv_norm("data", channels, 3, 2))
    for inner, outputs, kernel, stride, squeezes in (
        (8, 8, 3, 2, True), (36, 12, 3, 2, False), (44, 12, 3, 1, False), (48, 20, 5, 2, True),
        (120, 20, 5, 1, True), (60, 24, 5, 1, True),
    ):  # fmt: skip
        body = swish(net.conv_norm(top, inner, 1))
        body = net.depthwise(body, inner, stride, kernel)
        if squeezes:
            gate = net.conv_relu(net.average(body), inner // 4, 1)
            flat = net.layer("Flatten", hard(net.conv(gate, inner, 1)))
            body = net.layer("Scale", (body, flat), "scale_param { axis: 0 }")
        body = net.conv_norm(swish(body), outputs, 1)
        top = net.add(top, body) if stride == 1 and channels == outputs else body
        channels = outputs
    net.classify(swish(net.conv_norm(top, 72, 1)))
    return net.text


def shufflenet_v1(groups: int = 3) -> str:
    """Zhang et al. 2017, with ShuffleChannel."""
    net = Net(64)
    channels = 12
    top = net.pool(net.conv_norm_relu("data", channels, 3, 2), 3)
    for stage, count in enumerate((2, 3, 2)):
        for index in range(count):
            outputs = 24 << stage
            inner = 12 << stage
            stride = 2 if index == 0 else 1
            made = outputs - channels if index == 0 else outputs
            first = 1 if stage == 0 and index == 0 else groups
            body = net.conv_norm_relu(top, inner, 1, more=f"group: {first}")
            body = net.layer("ShuffleChannel", body, f"shuffle_channel_param {{ group: {groups} }}")
            body = net.conv_norm(net.depthwise(body, inner, stride), made, 1, more="group: 3")
            if index == 0:
                top = net.relu(net.concat(net.pool(top, 3, 2, 0, "AVE"), body))
            else:
                top = net.relu(net.add(top, body))
            channels = outputs
    net.classify(top)
    return net.text


def shufflenet_v2() -> str:
    """Ma et al. 2018: the shuffle is written as Slice and Concat of halves."""
    net = Net(64)
    channels = 12
    top = net.pool(net.conv_norm_relu("data", channels, 3, 2), 3)
    for stage, count in enumerate((2, 3, 2)):
        outputs = 24 << stage
        half = outputs // 2
        for index in range(count):
            if index == 0:
                left = net.conv_norm_relu(net.depthwise(top, channels, 2), half, 1)
                right, width = top, channels
            else:
                left = net.layer("Slice", top, f"slice_param {{ slice_point: {half} }}", tops=2)
                right, width = f"{left}_1", half
            body = net.conv_norm_relu(right, half, 1)
            body = net.depthwise(body, half, 2 if index == 0 else 1)
            body = net.conv_norm_relu(body, half, 1)
            del width
            top = net.layer(
                "ShuffleChannel", net.concat(left, body), "shuffle_channel_param { group: 2 }"
            )
            channels = outputs
    net.classify(net.conv_norm_relu(top, 128, 1))
    return net.text


def squeezenet(first: int) -> str:
    """Iandola et al. 2016."""
    net = Net(67)
    top = net.pool(net.conv_relu("data", 16, first, 2), 3)
    for index, squeeze in enumerate((4, 4, 8, 8, 12, 12, 16, 16)):
        if index in (2, 4):
            top = net.pool(top, 3)
        narrow = net.conv_relu(top, squeeze, 1)
        top = net.concat(
            net.conv_relu(narrow, 4 * squeeze, 1), net.conv_relu(narrow, 4 * squeeze, 3)
        )
    net.layer("Softmax", net.average(net.conv_relu(net.layer("Dropout", top), 20, 1)))
    return net.text


def dual_path() -> str:
    """Chen et al. 2017: a residual and a dense path side by side."""
    net = Net(64)
    residual = 16
    top = net.pool(net.conv_norm_relu("data", residual, 7, 2), 3)
    dense = ""
    for _ in range(5):
        whole = net.concat(top, dense) if dense else top
        body = net.conv_norm_relu(net.conv_norm_relu(whole, 16, 1), 16, more="group: 4")
        body = net.conv_norm(body, residual + 4, 1)
        cut = net.layer("Slice", body, f"slice_param {{ slice_point: {residual} }}", tops=2)
        top = net.relu(net.add(top, cut))
        dense = net.concat(dense, f"{cut}_1") if dense else f"{cut}_1"
    net.classify(net.concat(top, dense))
    return net.text


def maxout() -> str:
    """Goodfellow et al. 2013: the largest of two halves of the channels."""
    net = Net(48)
    top = "data"
    for channels in (16, 24, 32):
        cut = net.layer(
            "Slice", net.conv(top, 2 * channels), f"slice_param {{ slice_point: {channels} }}", 2
        )
        top = net.layer("Eltwise", (cut, f"{cut}_1"), "eltwise_param { operation: MAX }")
        top = net.pool(top)
    net.classify(top)
    return net.text


def elu_net() -> str:
    """Clevert et al. 2015."""
    net = Net(48)
    top = "data"
    for channels in (16, 24, 32):
        top = net.layer("ELU", net.conv(top, channels), "elu_param { alpha: 0.7 }")
        top = net.pool(net.layer("ELU", net.conv(top, channels, 2, pad=0)))
    net.classify(top)
    return net.text
