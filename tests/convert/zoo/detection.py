"""Detectors of faces and objects, and networks for faces."""

from collections.abc import Iterator, Sequence

from tests.convert.zoo.writer import Net


def networks() -> Iterator[tuple[str, str]]:
    """Name and prototxt of each."""
    yield "ssd-vgg", ssd_vgg()
    yield "mobilenet-ssd", mobilenet_ssd()
    yield "pelee-ssd", pelee()
    yield "s3fd", s3fd()
    yield "faceboxes", faceboxes()
    yield "ultra-light-slim", ultra_light(rich=False)
    yield "ultra-light-rfb", ultra_light(rich=True)
    yield "retinaface-mnet25", retinaface()
    yield "res10-face", res10()
    yield "mtcnn-pnet", mtcnn((10, 16, 32))
    yield "mtcnn-rnet", mtcnn((28, 48, 64), side=24, dense=128)
    yield "mtcnn-onet", mtcnn((32, 64, 64, 128), side=48, dense=256)
    yield "yolo-v1-tiny", tiny_yolo_v1()
    yield "yolo-v2", yolo_v2()
    yield "yolo-v3-tiny", yolo_v3()
    yield "pvanet", pvanet()
    yield "rpn", region_proposals()
    yield "r-fcn-head", position_sensitive_maps()
    yield "fpn", feature_pyramid()
    yield "centernet-like", centre_points()
    yield "age-gender", age_gender()
    yield "vgg-face-landmarks", landmarks()
    yield "sphereface-20", sphereface()
    yield "mobilefacenet", mobilefacenet()
    yield "lightcnn-9", light_cnn()
    yield "vehicle-attributes", attributes()


def prior_box(net: Net, bottom: str, low: float, high: float, step: int) -> str:
    """Priors of one feature map."""
    return net.layer(
        "PriorBox",
        (bottom, "data"),
        f"prior_box_param {{ min_size: {low} max_size: {high} aspect_ratio: 2 flip: true "
        f"clip: false variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 step: {step} "
        "offset: 0.5 }",
    )


def ssd_heads(net: Net, maps: Sequence[tuple[str, int]], classes: int = 3) -> None:
    """SSD's heads, priors and DetectionOutput on (feature map, stride) pairs."""
    locs: list[str] = []
    confs: list[str] = []
    priors: list[str] = []
    for index, (bottom, step) in enumerate(maps):
        loc, conf = net.conv(bottom, 16), net.conv(bottom, 4 * classes)
        for made, listed in ((loc, locs), (conf, confs)):
            turned = net.layer(
                "Permute", made, "permute_param { order: 0 order: 2 order: 3 order: 1 }"
            )
            listed.append(net.layer("Flatten", turned, "flatten_param { axis: 1 }"))
        priors.append(prior_box(net, bottom, 16 * 2**index, 32 * 2**index, step))
    loc, conf = net.concat(*locs), net.concat(*confs)
    prior = net.concat(*priors, axis=2)
    shaped = net.layer(
        "Reshape", conf, f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {classes} }} }}"
    )
    likely = net.layer("Softmax", shaped, "softmax_param { axis: 2 }")
    flat = net.layer("Flatten", likely, "flatten_param { axis: 1 }")
    net.layer(
        "DetectionOutput",
        (loc, flat, prior),
        f"detection_output_param {{ num_classes: {classes} share_location: true "
        "background_label_id: 0 nms_param { nms_threshold: 0.45 top_k: 100 } "
        "code_type: CENTER_SIZE keep_top_k: 50 confidence_threshold: 0.25 }",
    )


def ssd_vgg() -> str:
    """Liu et al. 2015: dilated fc6, Normalize on conv4_3."""
    net = Net(96)
    top = "data"
    for count, channels in ((2, 8), (2, 12), (3, 16)):
        for _ in range(count):
            top = net.conv_relu(top, channels)
        top = net.pool(top)
    for _ in range(3):
        top = net.conv_relu(top, 24)
    fourth = net.layer(
        "Normalize",
        top,
        "norm_param { across_spatial: false channel_shared: false "
        'scale_filler { type: "constant" value: 20 } }',
    )
    top = net.pool(top)
    top = net.pool(net.conv_relu(top, 24), 3, 1, 1)
    top = net.relu(net.conv(top, 32, 3, pad=6, more="dilation: 6"))
    seventh = net.conv_relu(top, 32, 1)
    eighth = net.conv_relu(net.conv_relu(seventh, 16, 1), 24, 3, 2)
    ssd_heads(net, [(fourth, 8), (seventh, 16), (eighth, 32)])
    return net.text


def mobilenet_ssd() -> str:
    """chuanqi305's MobileNet-SSD."""
    net = Net(96)
    channels = 8
    top = net.conv_norm_relu("data", channels, 3, 2)
    kept = []
    for outputs, stride in ((12, 1), (16, 2), (16, 1), (24, 2), (24, 1), (32, 2), (32, 1)):
        top = net.relu(net.depthwise(top, channels, stride))
        channels = outputs
        top = net.conv_norm_relu(top, channels, 1)
        kept.append(top)
    last = net.conv_norm_relu(net.conv_norm_relu(top, 16, 1), 24, 3, 2)
    ssd_heads(net, [(kept[4], 8), (top, 16), (last, 32)])
    return net.text


def pelee() -> str:
    """Wang et al. 2018: two-way dense layers and residual prediction blocks."""
    net = Net(96)
    first = net.conv_norm_relu("data", 8, 3, 2)
    left = net.conv_norm_relu(net.conv_norm_relu(first, 4, 1), 8, 3, 2)
    top = net.conv_norm_relu(net.concat(left, net.pool(first)), 8, 1)
    kept = []
    for count in (2, 3):
        for _ in range(count):
            one = net.conv_norm_relu(net.conv_norm_relu(top, 8, 1), 4)
            two = net.conv_norm_relu(net.conv_norm_relu(net.conv_norm_relu(top, 8, 1), 4), 4)
            top = net.concat(top, one, two)
        top = net.pool(net.conv_norm_relu(top, 24, 1))
        kept.append(top)
    ssd_heads(
        net,
        [
            (net.add(net.conv(each, 16, 1), net.conv(net.conv_relu(each, 8, 1), 16, 1)), step)
            for each, step in zip(kept, (8, 16), strict=True)
        ],
    )
    return net.text


def s3fd() -> str:
    """Zhang et al. 2017: max-out background label on the first map, Normalize on three."""
    net = Net(96)
    top = "data"
    kept = []
    for count, channels in ((2, 8), (2, 12), (3, 16), (3, 24)):
        for _ in range(count):
            top = net.conv_relu(top, channels)
        kept.append(top)
        top = net.pool(top)
    maps = []
    for each, step, scale in ((kept[2], 4, 10), (kept[3], 8, 8)):
        made = net.layer(
            "Normalize",
            each,
            "norm_param { across_spatial: false channel_shared: false "
            f'scale_filler {{ type: "constant" value: {scale} }} }}',
        )
        maps.append((made, step))
    conf = net.conv(maps[0][0], 4)
    cut = net.layer("Slice", conf, "slice_param { slice_point: 3 }", tops=2)
    parts = net.layer("Slice", cut, "slice_param { slice_point: 1 slice_point: 2 }", tops=3)
    most = net.layer(
        "Eltwise", (parts, f"{parts}_1", f"{parts}_2"), "eltwise_param { operation: MAX }"
    )
    net.layer("Softmax", net.concat(most, f"{cut}_1"), "softmax_param { axis: 1 }")
    ssd_heads(net, [maps[1], (net.conv_relu(top, 24), 16)], classes=2)
    return net.text


def faceboxes() -> str:
    """Zhang et al. 2017: CReLU, as Power, Concat and ReLU, and inception blocks."""
    net = Net(128)

    def crelu(bottom: str) -> str:
        return net.relu(
            net.concat(bottom, net.layer("Power", bottom, "power_param { scale: -1.0 }"))
        )

    top = net.pool(crelu(net.conv_norm("data", 8, 7, 4)), 3, 2, 1)
    top = net.pool(crelu(net.conv_norm(top, 12, 5, 1)), 3, 2, 1)
    for _ in range(2):
        top = net.concat(
            net.conv_norm_relu(top, 8, 1),
            net.conv_norm_relu(net.pool(top, 3, 1, 1, "AVE"), 8, 1),
            net.conv_norm_relu(net.conv_norm_relu(top, 6, 1), 8),
            net.conv_norm_relu(net.conv_norm_relu(net.conv_norm_relu(top, 6, 1), 8), 8),
        )
    last = net.conv_relu(net.conv_relu(top, 16, 1), 24, 3, 2)
    ssd_heads(net, [(top, 16), (last, 32)], classes=2)
    return net.text


def ultra_light(*, rich: bool) -> str:
    """Linzaer's Ultra-Light-Fast-Generic-Face-Detector: its Reshape layers write batch 1."""
    net = Net(96, width=128)
    channels = 8
    top = net.conv_norm_relu("data", channels, 3, 2)
    maps = []
    for index, (outputs, stride) in enumerate(((16, 1), (16, 2), (16, 1), (24, 2), (24, 1))):
        top = net.relu(net.depthwise(top, channels, stride))
        channels = outputs
        top = net.conv_norm_relu(top, channels, 1)
        if rich and index == 3:
            branches = [
                net.norm(
                    net.conv(net.conv_norm_relu(top, 8, 1), 8, pad=rate, more=f"dilation: {rate}")
                )
                for rate in (1, 2, 3)
            ]
            mixed = net.conv_norm(net.concat(*branches), channels, 1)
            top = net.relu(net.add(mixed, net.conv_norm(top, channels, 1)))
        if index in (2, 4):
            maps.append(top)
    scores: list[str] = []
    boxes: list[str] = []
    for each in maps:
        for width, listed in ((2, scores), (4, boxes)):
            made = net.conv(net.relu(net.conv(each, 24, more="group: 8")), 3 * width, 1)
            turned = net.layer(
                "Permute", made, "permute_param { order: 0 order: 2 order: 3 order: 1 }"
            )
            shape = f"reshape_param {{ shape {{ dim: 1 dim: -1 dim: {width} }} }}"
            listed.append(net.layer("Reshape", turned, shape))
    net.layer("Softmax", net.concat(*scores), "softmax_param { axis: 2 }")
    net.concat(*boxes)
    return net.text


def retinaface() -> str:
    """Deng et al. 2019 on MobileNet 0.25, as InsightFace's deploy files have it."""
    net = Net(96)
    channels = 8
    top = net.conv_norm_relu("data", channels, 3, 2)
    kept = []
    for outputs, stride in ((16, 1), (16, 2), (16, 2), (24, 1), (32, 2)):
        top = net.relu(net.depthwise(top, channels, stride))
        channels = outputs
        top = net.conv_norm_relu(top, channels, 1)
        kept.append(top)
    fine, coarse = net.conv_norm_relu(kept[3], 16, 1), net.conv_norm_relu(kept[4], 16, 1)
    up = net.upsample(coarse, 16, group=16)
    fused = net.conv_norm_relu(net.add(fine, up), 16)
    for each in (fused, coarse):
        context = net.conv_norm(net.conv_norm_relu(each, 4), 4)
        deeper = net.conv_norm(net.conv_norm_relu(net.conv_norm_relu(each, 4), 4), 4)
        top = net.relu(net.concat(net.conv_norm(each, 8), context, deeper))
        score = net.conv(top, 4, 1)
        shaped = net.layer(
            "Reshape", score, "reshape_param { shape { dim: 1 dim: 2 dim: -1 dim: 0 } }"
        )
        likely = net.layer("Softmax", shaped)
        net.layer("Reshape", likely, "reshape_param { shape { dim: 1 dim: 4 dim: -1 dim: 0 } }")
        net.conv(top, 8, 1)
        net.conv(top, 20, 1)
    return net.text


def res10() -> str:
    """OpenCV's face detector: a ResNet of ten layers with SSD's heads."""
    net = Net(96)
    top = net.layer("Scale", net.layer("BatchNorm", "data"), "scale_param { bias_term: true }")
    top = net.pool(net.conv_norm_relu(top, 8, 7, 2), 3)
    for outputs, stride in ((8, 1), (16, 2), (32, 2)):
        body = net.conv(net.relu(net.norm(net.conv(top, outputs, 3, stride))), outputs)
        top = net.add(net.conv(top, outputs, 1, stride), body)
    last = net.conv_relu(net.relu(net.norm(top)), 24)
    ssd_heads(net, [(last, 16), (net.conv_relu(last, 24, 3, 2), 32)], classes=2)
    return net.text


def mtcnn(widths: Sequence[int], side: int = 60, dense: int = 0) -> str:
    """Zhang et al. 2016: PReLU, ceil pooling; P-Net is fully convolutional."""
    net = Net(side)
    top = "data"
    for index, channels in enumerate(widths):
        kernel = 2 if dense and index == len(widths) - 1 else 3
        top = net.prelu(net.conv(top, channels, kernel, pad=0))
        if index < (1 if not dense else len(widths) - 1):
            top = net.pool(top, 3 if dense and index < 2 else 2, 2)
    if dense:
        top = net.prelu(net.dense(top, dense))
        net.layer("Softmax", net.dense(top, 2))
        net.dense(top, 4)
        net.dense(top, 10)
    else:
        net.layer("Softmax", net.conv(top, 2, 1))
        net.conv(top, 4, 1)
    return net.text


def _leaky(net: Net, bottom: str) -> str:
    return net.layer("ReLU", bottom, "relu_param { negative_slope: 0.1 }")


def tiny_yolo_v1() -> str:
    """Redmon et al. 2015, the tiny one: one inner product at the end."""
    net = Net(64)
    top = "data"
    for channels in (8, 12, 16, 24):
        top = net.pool(_leaky(net, net.conv(top, channels)))
    net.dense(_leaky(net, net.conv(top, 32)), 150)
    return net.text


def yolo_v2() -> str:
    """Redmon and Farhadi 2016: the passthrough is a Reorg layer."""
    net = Net(96)
    top = "data"
    for channels in (8, 16, 24, 32):
        fine = _leaky(net, net.conv_norm(top, channels))
        top = net.pool(fine)
    deep = _leaky(net, net.conv_norm(top, 48))
    passed = net.layer("Reorg", _leaky(net, net.conv_norm(fine, 8, 1)), "reorg_param { stride: 2 }")
    net.conv(_leaky(net, net.conv_norm(net.concat(passed, deep), 48)), 35, 1)
    return net.text


def yolo_v3() -> str:
    """Redmon and Farhadi 2018, the tiny one: two scales, nearest upsampling by a deconvolution."""
    net = Net(96)
    top = "data"
    for channels in (8, 12, 16, 24):
        skip = _leaky(net, net.conv_norm(top, channels))
        top = net.pool(skip)
    deep = _leaky(net, net.conv_norm(top, 32))
    net.conv(_leaky(net, net.conv_norm(deep, 48)), 24, 1)
    up = net.upsample(_leaky(net, net.conv_norm(deep, 16, 1)), 16, group=16)
    net.conv(_leaky(net, net.conv_norm(net.concat(up, skip), 32)), 24, 1)
    return net.text


def pvanet() -> str:
    """Kim et al. 2016: CReLU blocks and a hyper feature."""
    net = Net(96)

    def crelu(bottom: str) -> str:
        negated = net.layer("Power", bottom, "power_param { scale: -1.0 }")
        scaled = net.layer("Scale", net.concat(bottom, negated), "scale_param { bias_term: true }")
        return net.relu(scaled)

    top = net.pool(crelu(net.conv_norm("data", 8, 7, 2)), 3, 2)
    kept = []
    for channels in (8, 12, 16):
        body = net.conv_norm_relu(top, channels, 1, 1 if channels == 8 else 2)
        body = net.conv(crelu(net.conv_norm(body, channels)), 2 * channels, 1)
        stride = 1 if channels == 8 else 2
        top = net.add(body, net.conv(top, 2 * channels, 1, stride))
        kept.append(top)
    down = net.pool(kept[0], 3, 2)
    net.conv_relu(net.concat(down, kept[1], net.upsample(kept[2], 32, group=32)), 32, 1)
    return net.text


def region_proposals() -> str:
    """Ren et al. 2015: the heads of a region proposal network, with their two Reshape layers."""
    net = Net(96)
    top = "data"
    for channels in (8, 16, 24):
        top = net.pool(net.conv_relu(top, channels))
    top = net.conv_relu(top, 32)
    score = net.conv(top, 18, 1)
    shaped = net.layer("Reshape", score, "reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } }")
    likely = net.layer("Softmax", shaped)
    net.layer("Reshape", likely, "reshape_param { shape { dim: 0 dim: 18 dim: -1 dim: 0 } }")
    net.conv(top, 36, 1)
    return net.text


def position_sensitive_maps() -> str:
    """Dai et al. 2016: the maps of R-FCN, dilated, without the pooling of regions."""
    net = Net(96)
    top = net.pool(net.conv_norm_relu("data", 8, 7, 2), 3)
    for stride, rate in ((2, 1), (1, 2)):
        body = net.conv_norm_relu(top, 8, 1, stride)
        body = net.relu(
            net.norm(net.conv(body, 8, pad=rate, more=f"dilation: {rate} bias_term: false"))
        )
        body = net.conv_norm(body, 32, 1)
        top = net.relu(net.add(net.conv_norm(top, 32, 1, stride), body))
    top = net.conv_relu(top, 24, 1)
    net.conv(top, 3 * 3 * 4, 1)
    net.conv(top, 3 * 3 * 8, 1)
    return net.text


def feature_pyramid() -> str:
    """Lin et al. 2016: lateral connections, cropped to size."""
    net = Net(100)
    top = "data"
    kept = []
    for channels in (8, 16, 24):
        top = net.pool(net.conv_relu(top, channels))
        kept.append(top)
    above = net.conv(kept[-1], 16, 1)
    for each in reversed(kept[:-1]):
        side = net.conv(each, 16, 1)
        up = net.layer("Crop", (net.upsample(above, 16, group=16), side), "crop_param { axis: 2 }")
        above = net.conv(net.add(side, up), 16)
    return net.text


def centre_points() -> str:
    """Zhou et al. 2019: a heat map, its peaks by max pooling, and sizes."""
    net = Net(96)
    top = "data"
    for channels in (8, 16, 24):
        top = net.conv_norm_relu(top, channels, 3, 2)
    for channels in (16, 12):
        top = net.relu(net.norm(net.upsample(top, channels)))
    heat = net.layer("Sigmoid", net.conv(net.conv_relu(top, 16), 3, 1))
    net.pool(heat, 3, 1, 1)
    net.conv(net.conv_relu(top, 16), 2, 1)
    return net.text


def age_gender() -> str:
    """Levi and Hassner 2015."""
    net = Net(115)
    top = net.pool(net.relu(net.conv("data", 16, 7, 4, pad=0)), 3)
    top = net.layer("LRN", top, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    top = net.pool(net.conv_relu(top, 24, 5), 3)
    top = net.layer("LRN", top, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }")
    top = net.pool(net.conv_relu(top, 24), 3)
    for _ in range(2):
        top = net.layer("Dropout", net.relu(net.dense(top, 48)))
    net.layer("Softmax", net.dense(top, 8))
    return net.text


def landmarks() -> str:
    """Facial landmarks by regression, with tanh and the absolute value of Wu et al. 2015."""
    net = Net(40, channels=1)
    top = "data"
    for channels, kernel in ((12, 5), (16, 3), (20, 3)):
        top = net.layer("TanH", net.conv(top, channels, kernel, pad=0))
        top = net.pool(net.layer("AbsVal", top))
    net.dense(net.layer("TanH", net.dense(top, 60)), 10)
    return net.text


def sphereface() -> str:
    """Liu et al. 2017: residual blocks with PReLU, ending in an embedding."""
    net = Net(112, width=96)
    top = "data"
    for channels, blocks in ((8, 1), (12, 2), (16, 3), (24, 1)):
        top = net.prelu(net.conv(top, channels, 3, 2))
        for _ in range(blocks):
            body = net.prelu(net.conv(net.prelu(net.conv(top, channels)), channels))
            top = net.add(top, body)
    net.dense(top, 64)
    return net.text


def mobilefacenet() -> str:
    """Chen et al. 2018: inverted residuals with PReLU and a global depthwise convolution."""
    net = Net(64)
    channels = 12
    top = net.prelu(net.conv_norm("data", channels, 3, 2))
    for outputs, stride in ((12, 1), (16, 2), (16, 1), (24, 2), (24, 1)):
        body = net.prelu(net.conv_norm(top, 2 * channels, 1))
        body = net.prelu(net.depthwise(body, 2 * channels, stride))
        body = net.conv_norm(body, outputs, 1)
        top = net.add(top, body) if stride == 1 and outputs == channels else body
        channels = outputs
    whole = net.norm(net.conv(top, channels, 8, pad=0, more=f"group: {channels} bias_term: false"))
    net.layer("Flatten", net.conv_norm(whole, 48, 1))
    return net.text


def light_cnn() -> str:
    """Wu et al. 2015: max-feature-map."""
    net = Net(64, channels=1)

    def halve(bottom: str, outputs: int, kernel: int) -> str:
        cut = net.layer(
            "Slice",
            net.conv(bottom, 2 * outputs, kernel),
            f"slice_param {{ slice_dim: 1 slice_point: {outputs} }}",
            tops=2,
        )
        return net.layer("Eltwise", (cut, f"{cut}_1"), "eltwise_param { operation: MAX }")

    top = net.pool(halve("data", 12, 5))
    for channels in (16, 24, 24):
        top = net.pool(halve(halve(top, channels, 1), channels, 3))
    net.layer("Softmax", net.dense(top, 30))
    return net.text


def attributes() -> str:
    """Several softmax outputs of one trunk."""
    net = Net(72)
    top = "data"
    for channels in (8, 16, 24, 32):
        top = net.conv_norm_relu(top, channels, 3, 2)
    pooled = net.average(top)
    for count in (7, 4):
        net.layer("Softmax", net.conv(pooled, count, 1))
    return net.text
