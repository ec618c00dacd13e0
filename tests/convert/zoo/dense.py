"""Networks with a value for each pixel: segmentation, pose, super-resolution, edges, style."""

from collections.abc import Iterator, Sequence

from tests.convert.zoo.writer import Net


def networks() -> Iterator[tuple[str, str]]:
    """Name and prototxt of each."""
    for stride in (32, 16, 8):
        yield f"fcn-{stride}s", fcn(stride)
    yield "segnet-basic", segnet()
    yield "unet", unet()
    yield "enet", enet()
    yield "deeplab", deeplab()
    yield "pspnet", pspnet()
    yield "icnet", icnet()
    yield "dilated-context", dilated_context()
    yield "refinenet", refinenet()
    yield "hed", edges()
    yield "openpose", openpose(stages=3)
    yield "convolutional-pose-machine", openpose(stages=2, fields=False)
    yield "hourglass", hourglass()
    yield "srcnn", srcnn()
    yield "fsrcnn", fsrcnn()
    yield "vdsr", vdsr()
    yield "edsr", edsr()
    yield "lapsrn", lapsrn()
    yield "dncnn", dncnn()
    yield "colorization", colorization()
    yield "style-transfer", style()
    yield "dcgan-generator", generator()
    yield "autoencoder", autoencoder()
    yield "flownet-simple", flownet()
    yield "matting", matting()


def trunk(net: Net, widths: Sequence[int], bottom: str = "data") -> list[str]:
    """Two convolutions and a pooling for each width; returns what each pooling gives."""
    kept = []
    for channels in widths:
        bottom = net.pool(net.conv_relu(net.conv_relu(bottom, channels), channels))
        kept.append(bottom)
    return kept


def crop(net: Net, bottom: str, like: str, offset: int = 0) -> str:
    """The part of a map that lies on another."""
    return net.layer("Crop", (bottom, like), f"crop_param {{ axis: 2 offset: {offset} }}")


def fcn(stride: int, classes: int = 5) -> str:
    """Long et al. 2014: scores of pooled maps, added and upsampled, cropped to the image."""
    net = Net(70)
    kept = trunk(net, (8, 12, 16, 24, 32))
    top = net.layer("Dropout", net.conv_relu(kept[4], 32, 3))
    score, at = net.conv(top, classes, 1), 32
    for index, skip in ((3, 16), (2, 8)):
        if stride <= skip:
            up = net.upsample(score, classes)
            score = net.add(crop(net, up, kept[index]), net.conv(kept[index], classes, 1))
            at = skip
    crop(net, net.upsample(score, classes, at), "data")
    return net.text


def segnet(classes: int = 4) -> str:
    """Badrinarayanan et al. 2015: pooling masks place the values of the decoder."""
    net = Net(64)
    top, masks = "data", []
    for channels in (8, 12, 16):
        top = net.conv_norm_relu(top, channels)
        top = net.layer(
            "Pooling", top, "pooling_param { pool: MAX kernel_size: 2 stride: 2 }", tops=2
        )
        masks.append(f"{top}_1")
    for mask, channels in zip(reversed(masks), (12, 8, 8), strict=True):
        top = net.layer("Upsample", (top, mask), "upsample_param { scale: 2 }")
        top = net.conv_norm_relu(top, channels)
    net.layer("Softmax", net.conv(top, classes, 1))
    return net.text


def unet(classes: int = 3) -> str:
    """Ronneberger et al. 2015."""
    net = Net(64)
    top, skips = "data", []
    for channels in (8, 12, 16):
        skip = net.conv_relu(net.conv_relu(top, channels), channels)
        skips.append((skip, channels))
        top = net.pool(skip)
    top = net.conv_relu(net.conv_relu(top, 24), 24)
    for skip, channels in reversed(skips):
        up = net.layer(
            "Deconvolution",
            top,
            f"convolution_param {{ num_output: {channels} kernel_size: 2 stride: 2 }}",
        )
        top = net.conv_relu(net.conv_relu(net.concat(net.relu(up), skip), channels), channels)
    net.layer("Softmax", net.conv(top, classes, 1))
    return net.text


def enet() -> str:
    """Paszke et al. 2016: bottlenecks with PReLU, asymmetric and dilated convolutions."""
    net = Net(64)
    top = net.prelu(net.norm(net.concat(net.conv("data", 13, 3, 2), net.pool("data"))))
    channels = 16
    for index in range(4):
        body = net.prelu(net.conv_norm(top, 8, 1))
        if index == 1:
            window = "kernel_h: {} kernel_w: {} pad_h: {} pad_w: {}"
            wide = f"convolution_param {{{{ num_output: 8 {window} }}}}"
            body = net.layer("Convolution", body, wide.format(5, 1, 2, 0))
            body = net.layer("Convolution", body, wide.format(1, 5, 0, 2))
        else:
            rate = 2**index
            body = net.conv(body, 8, pad=rate, more=f"dilation: {rate}")
        body = net.conv_norm(net.prelu(net.norm(body)), channels, 1)
        top = net.prelu(net.add(top, net.layer("Dropout", body)))
    net.layer("Deconvolution", top, "convolution_param { num_output: 4 kernel_size: 2 stride: 2 }")
    return net.text


def deeplab(classes: int = 4) -> str:
    """Chen et al. 2014 and 2016: dilated convolutions side by side, upsampled by Interp."""
    net = Net(65)
    top = trunk(net, (8, 12, 16))[-1]
    scores = [
        net.conv(net.conv_relu(net.relu(net.conv(top, 16, pad=rate, more=f"dilation: {rate}")),
                               16, 1), classes, 1)
        for rate in (2, 4, 6)
    ]  # fmt: skip
    net.layer("Interp", net.add(*scores), "interp_param { zoom_factor: 8 }")
    return net.text


def pspnet(classes: int = 4) -> str:
    """Zhao et al. 2016: pyramid pooling, BN layers, Interp."""
    net = Net(65)

    def bn(bottom: str) -> str:
        return net.relu(net.layer("BN", bottom, "bn_param { frozen: true }"))

    top = "data"
    for channels in (8, 12, 16):
        top = bn(net.conv(top, channels, 3, 2, more="bias_term: false"))
    side = 9
    levels = [top]
    for kernel, stride in ((9, 9), (5, 4), (3, 3)):
        pooled = net.pool(top, kernel, stride, kind="AVE")
        reduced = bn(net.conv(pooled, 4, 1, more="bias_term: false"))
        levels.append(
            net.layer("Interp", reduced, f"interp_param {{ height: {side} width: {side} }}")
        )
    mixed = net.layer("Dropout", bn(net.conv(net.concat(*levels), 16, more="bias_term: false")))
    net.layer("Interp", net.conv(mixed, classes, 1), "interp_param { zoom_factor: 8 }")
    return net.text


def icnet(classes: int = 4) -> str:
    """Zhao et al. 2017: the image at two scales, fused."""
    net = Net(65)
    half = net.layer("Interp", "data", "interp_param { shrink_factor: 2 }")
    low = half
    for channels in (8, 16):
        low = net.conv_norm_relu(low, channels, 3, 2)
    high = "data"
    for channels in (8, 12):
        high = net.conv_norm_relu(high, channels, 3, 2)
    up = net.layer("Interp", low, "interp_param { zoom_factor: 2 }")
    wide = net.norm(net.conv(up, 16, pad=2, more="dilation: 2 bias_term: false"))
    fused = net.relu(net.add(wide, net.conv_norm(high, 16, 1)))
    net.conv(net.layer("Interp", fused, "interp_param { zoom_factor: 4 }"), classes, 1)
    return net.text


def dilated_context() -> str:
    """Yu and Koltun 2015: ever larger dilations, no padding lost."""
    net = Net(48)
    top = "data"
    for rate in (1, 1, 2, 4, 8, 1):
        top = net.relu(net.conv(top, 12, pad=rate, more=f"dilation: {rate}"))
    net.layer("Softmax", net.conv(top, 5, 1))
    return net.text


def refinenet() -> str:
    """Lin et al. 2016: chained residual pooling."""
    net = Net(64)
    kept = trunk(net, (8, 12, 16))
    top = net.conv(kept[2], 16)
    path = net.relu(top)
    total = path
    for _ in range(2):
        path = net.conv(net.pool(path, 5, 1, 2), 16)
        total = net.add(total, path)
    up = net.upsample(total, 16, group=16)
    net.conv(net.add(up, net.conv(kept[1], 16)), 4)
    return net.text


def edges() -> str:
    """Xie and Tu 2015: side outputs, upsampled, cropped and fused."""
    net = Net(50)
    kept = trunk(net, (8, 12, 16))
    sides = []
    for index, each in enumerate(kept):
        score = net.conv(each, 1, 1)
        sides.append(crop(net, net.upsample(score, 1, 2 ** (index + 1)), "data"))
    for side in sides:
        net.layer("Sigmoid", side)
    net.layer("Sigmoid", net.conv(net.concat(*sides), 1, 1))
    return net.text


def openpose(stages: int, *, fields: bool = True) -> str:
    """Wei et al. 2016 and Cao et al. 2016: each stage sees the features and the last maps."""
    net = Net(64)
    features = net.conv_relu(trunk(net, (8, 12, 16))[-1], 16)
    top = features
    for stage in range(stages):
        kernel = 3 if stage == 0 else 7
        made = []
        for outputs in (6, 8) if fields else (6,):
            body = top
            for _ in range(3):
                body = net.conv_relu(body, 12, kernel)
            made.append(net.conv(net.conv_relu(body, 16, 1), outputs, 1))
        top = net.concat(*made, features)
    return net.text


def hourglass() -> str:
    """Newell et al. 2016."""
    net = Net(64)

    def residual(bottom: str, channels: int = 16) -> str:
        body = net.conv(net.relu(net.norm(bottom)), channels // 2, 1)
        body = net.conv(net.relu(net.norm(body)), channels // 2)
        return net.add(bottom, net.conv(net.relu(net.norm(body)), channels, 1))

    def glass(bottom: str, depth: int) -> str:
        low = residual(net.pool(bottom))
        low = glass(low, depth - 1) if depth else residual(low)
        return net.add(residual(bottom), net.upsample(residual(low), 16, group=16))

    top = net.conv_norm_relu("data", 16, 7, 2)
    net.conv(glass(top, 2), 5, 1)
    return net.text


def srcnn() -> str:
    """Dong et al. 2014."""
    net = Net(48, channels=1)
    net.conv(net.conv_relu(net.conv_relu("data", 16, 9), 8, 1), 1, 5)
    return net.text


def fsrcnn() -> str:
    """Dong et al. 2016: PReLU, and a deconvolution at the end."""
    net = Net(32, channels=1)
    top = net.prelu(net.conv("data", 16, 5))
    top = net.prelu(net.conv(top, 6, 1))
    for _ in range(3):
        top = net.prelu(net.conv(top, 6))
    net.upsample(net.prelu(net.conv(top, 16, 1)), 1, 3)
    return net.text


def vdsr() -> str:
    """Kim et al. 2016: twenty layers and the input added."""
    net = Net(40, channels=1)
    top = "data"
    for _ in range(12):
        top = net.conv_relu(top, 12)
    net.add(net.conv(top, 1), "data")
    return net.text


def edsr() -> str:
    """Lim et al. 2017: residual blocks without normalization, scaled by 0.1."""
    net = Net(32)
    first = net.conv("data", 12)
    top = first
    for _ in range(4):
        body = net.conv(net.conv_relu(top, 12), 12)
        top = net.add(top, net.layer("Power", body, "power_param { scale: 0.1 }"))
    net.conv(net.upsample(net.add(first, net.conv(top, 12)), 12), 3)
    return net.text


def lapsrn() -> str:
    """Lai et al. 2017: a pyramid of residuals."""
    net = Net(24, channels=1)
    top, image = net.conv("data", 12), "data"
    for _ in range(2):
        for _ in range(3):
            top = net.layer("ReLU", net.conv(top, 12), "relu_param { negative_slope: 0.2 }")
        top = net.upsample(top, 12)
        image = net.add(net.upsample(image, 1), net.conv(top, 1))
    return net.text


def dncnn() -> str:
    """Zhang et al. 2016: the noise, subtracted."""
    net = Net(40, channels=1)
    top = net.conv_relu("data", 12)
    for _ in range(6):
        top = net.conv_norm_relu(top, 12)
    net.layer("Eltwise", ("data", net.conv(top, 1)), "eltwise_param { coeff: 1 coeff: -1 }")
    return net.text


def colorization() -> str:
    """Zhang et al. 2016: dilated blocks, a tempered softmax, and bins to colours."""
    net = Net(56, channels=1)
    top = "data"
    for channels in (8, 12, 16):
        top = net.norm(net.conv_relu(net.conv_relu(top, channels), channels, 3, 2))
    top = net.norm(net.relu(net.conv(top, 16, pad=2, more="dilation: 2")))
    top = net.relu(net.upsample(top, 16))
    scores = net.layer("Scale", net.conv(top, 13, 1), "scale_param { bias_term: false }")
    net.conv(net.layer("Softmax", scores), 2, 1)
    return net.text


def style() -> str:
    """Johnson et al. 2016 with instance normalization, which is MVN."""
    net = Net(48)

    def instance(bottom: str) -> str:
        made = net.layer("MVN", bottom, "mvn_param { normalize_variance: true eps: 0.001 }")
        return net.layer("Scale", made, "scale_param { bias_term: true }")

    top = net.relu(instance(net.conv("data", 8, 9)))
    for channels in (12, 16):
        top = net.relu(instance(net.conv(top, channels, 3, 2)))
    for _ in range(2):
        body = net.relu(instance(net.conv(top, 16)))
        top = net.add(top, instance(net.conv(body, 16)))
    for channels in (12, 8):
        top = net.relu(instance(net.upsample(top, channels)))
    made = net.layer("TanH", net.conv(top, 3, 9))
    net.layer("Power", made, "power_param { scale: 127.5 shift: 127.5 }")
    return net.text


def generator() -> str:
    """Radford et al. 2015: from a vector to an image."""
    net = Net(1, channels=24)
    top = "data"
    for channels, kernel, stride, pad in ((32, 4, 1, 0), (16, 4, 2, 1), (8, 4, 2, 1)):
        made = net.layer(
            "Deconvolution",
            top,
            f"convolution_param {{ num_output: {channels} kernel_size: {kernel} stride: {stride} "
            f"pad: {pad} bias_term: false }}",
        )
        top = net.relu(net.norm(made))
    net.layer("TanH", net.upsample(top, 3))
    return net.text


def autoencoder() -> str:
    """Hinton and Salakhutdinov 2006, as BVLC has it."""
    net = Net(28, channels=1)
    top = net.layer("Flatten", "data")
    for width in (100, 50, 25):
        top = net.layer("Sigmoid", net.dense(top, width))
    top = net.dense(top, 10)
    for width in (25, 50, 100):
        top = net.layer("Sigmoid", net.dense(top, width))
    net.layer("Sigmoid", net.dense(top, 784))
    return net.text


def flownet() -> str:
    """Dosovitskiy et al. 2015, the simple one: flow at growing sizes."""
    net = Net(64, channels=6)
    top, kept = "data", []
    for channels in (8, 12, 16, 24):
        top = net.layer("ReLU", net.conv(top, channels, 3, 2), "relu_param { negative_slope: 0.1 }")
        kept.append(top)
    for each, channels in ((kept[2], 16), (kept[1], 12)):
        flow = net.upsample(net.conv(top, 2), 2)
        up = net.layer("ReLU", net.upsample(top, channels), "relu_param { negative_slope: 0.1 }")
        top = net.concat(each, up, flow)
    net.conv(top, 2)
    return net.text


def matting() -> str:
    """Guided attenuation: a mask multiplies the features."""
    net = Net(48)
    top = net.conv_norm_relu(net.conv_norm_relu("data", 8, 3, 2), 12)
    mask = net.layer("Sigmoid", net.conv(top, 12, 1))
    kept = net.layer("Eltwise", (top, mask), "eltwise_param { operation: PROD }")
    net.layer("Sigmoid", net.conv(net.upsample(kept, 8), 1))
    return net.text
