"""SSD's AnnotatedData layer: images sampled and augmented as a train prototxt says.

Sources: `annotated_data_layer.cpp`, `data_transformer.cpp` and `im_transforms.cpp` of
github.com/weiliu89/caffe. Pillow resizes the pictures, not OpenCV.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from convert.caffe import caffe_pb2
from convert.caffe.caffe_pb2 import BatchSampler, DistortionParameter, TransformationParameter
from convert.caffe.network import CaffeError, Diagnostic, Network
from geometry.arrays import F32
from training.data.dataset import LabelledImage
from training.data.images import opened, upright
from training.data.sampling import draw, project

_RESAMPLING = {
    caffe_pb2.ResizeParameter.LINEAR: Image.Resampling.BILINEAR,
    caffe_pb2.ResizeParameter.AREA: Image.Resampling.BOX,
    caffe_pb2.ResizeParameter.NEAREST: Image.Resampling.NEAREST,
    caffe_pb2.ResizeParameter.CUBIC: Image.Resampling.BICUBIC,
    caffe_pb2.ResizeParameter.LANCZOS4: Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class AnnotatedData:
    """The settings of a prototxt's data layer."""

    batch: int
    width: int
    height: int
    transform: TransformationParameter
    samplers: tuple[BatchSampler, ...]

    @classmethod
    def of_network(cls, network: Network, folder_of: str) -> "AnnotatedData":
        """The settings of the network's AnnotatedData layer; CaffeError if there is none."""
        layers = [layer for layer in network.training_layers if layer.type == "AnnotatedData"]
        if not layers:
            raise CaffeError(folder_of, [Diagnostic("has no AnnotatedData layer")])
        own = layers[0].parameter
        resize = own.transform_param.resize_param
        wrong = {
            "resize_param without height and width": not (resize.height and resize.width),
            "a resize_param with a prob": resize.prob < 1,
            "a crop_size": own.transform_param.crop_size > 0,
            "a crop_h or crop_w": own.transform_param.crop_h + own.transform_param.crop_w > 0,
            "force_gray": own.transform_param.force_gray,
            "data_param without a batch_size": own.data_param.batch_size < 1,
            "a mean_file": own.transform_param.HasField("mean_file"),
            "a resize_mode other than WARP": resize.resize_mode != caffe_pb2.ResizeParameter.WARP,
            "expand_param": own.transform_param.HasField("expand_param"),
            "noise_param": own.transform_param.HasField("noise_param"),
            "an emit_type other than CENTER": (
                own.transform_param.emit_constraint.emit_type != caffe_pb2.EmitConstraint.CENTER
            ),
            f"{len(own.transform_param.mean_value)} mean values instead of 3": (
                len(own.transform_param.mean_value) != 3
            ),
        }
        problems = [
            Diagnostic(f"the trainer does not support {text}", layers[0].line, layer=layers[0].name)
            for text, found in wrong.items()
            if found
        ]
        if problems:
            raise CaffeError(folder_of, problems)
        return cls(
            own.data_param.batch_size,
            resize.width,
            resize.height,
            own.transform_param,
            tuple(own.annotated_data_param.batch_sampler),
        )

    def example(self, labelled: LabelledImage, random: np.random.Generator) -> tuple[F32, F32]:
        """An augmented picture [3, H, W], BGR and mean-free, and its faces [N, 4] in fractions."""
        with opened(labelled.path) as image:
            picture = upright(image)
        boxes = labelled.boxes if labelled.boxes is not None else np.zeros((0, 4), np.float32)
        size = np.asarray([picture.width, picture.height] * 2, np.float32)
        faces = (boxes / size).clip(0, 1).astype(np.float32)
        if self.transform.HasField("distort_param"):
            picture = distort(picture, self.transform.distort_param, random)
        part = draw(self.samplers, faces, random)
        modes = self.transform.resize_param.interp_mode or [caffe_pb2.ResizeParameter.LINEAR]
        mode = modes[int(random.integers(len(modes)))]
        box = (part * size).astype(float)
        warped = picture.resize(
            (self.width, self.height),
            _RESAMPLING[mode],
            box=(box[0], box[1], min(box[2], picture.width), min(box[3], picture.height)),
        )
        pixels = np.asarray(warped, np.float32)
        # Without the constraint, Caffe keeps every face that overlaps the part.
        by_centre = self.transform.HasField("emit_constraint")
        faces = project(faces, part, by_centre=by_centre)
        if self.transform.mirror and random.random() < 0.5:
            pixels = pixels[:, ::-1]
            faces = np.stack([1 - faces[:, 2], faces[:, 1], 1 - faces[:, 0], faces[:, 3]], 1)
        mean = np.asarray(self.transform.mean_value, np.float32)
        data = (pixels[..., ::-1] - mean) * np.float32(self.transform.scale)
        return np.ascontiguousarray(data.transpose(2, 0, 1)), faces.astype(np.float32)


def distort(
    picture: Image.Image, parameter: DistortionParameter, random: np.random.Generator
) -> Image.Image:
    """Randomly change brightness, contrast, saturation and hue, each with its own probability.

    As in `ApplyDistort` (im_transforms.cpp), contrast comes second or last, with equal chance. At
    the end, `random_order_prob` is the chance of shuffled channels (`RandomOrderChannels`).
    """

    def brightness(pixels: F32) -> F32:
        delta = parameter.brightness_delta
        return pixels + np.float32(random.uniform(-delta, delta))

    def contrast(pixels: F32) -> F32:
        return pixels * np.float32(
            random.uniform(parameter.contrast_lower, parameter.contrast_upper)
        )

    def saturation(pixels: F32) -> F32:
        factor = random.uniform(parameter.saturation_lower, parameter.saturation_upper)
        hsv = _hsv(pixels)
        hsv[..., 1] *= factor
        return _rgb(hsv)

    def hue(pixels: F32) -> F32:
        delta = random.uniform(-parameter.hue_delta, parameter.hue_delta)
        hsv = _hsv(pixels)
        # The parameter is in units of two degrees, as OpenCV's 8-bit hue. Pillow's full circle
        # is 256. OpenCV's hue is unsigned: it saturates at 0, but wraps around at the top.
        hsv[..., 0] = (hsv[..., 0] + delta * 256 / 180).clip(0) % 256
        return _rgb(hsv)

    steps = [
        (parameter.brightness_prob, brightness),
        (parameter.contrast_prob, contrast),
        (parameter.saturation_prob, saturation),
        (parameter.hue_prob, hue),
    ]
    if random.random() <= 0.5:
        steps = [steps[0], steps[2], steps[3], steps[1]]
    pixels = np.asarray(picture, np.float32)
    for chance, step in steps:
        if random.random() < chance:
            # In Caffe the picture has 8 bits between the steps.
            pixels = step(pixels).clip(0, 255).round()
    if random.random() < parameter.random_order_prob:
        pixels = pixels[..., random.permutation(3)]
    return Image.fromarray(pixels.astype(np.uint8))


def _hsv(pixels: F32) -> F32:
    return np.asarray(Image.fromarray(pixels.astype(np.uint8)).convert("HSV"), np.float32).copy()


def _rgb(hsv: F32) -> F32:
    picture = Image.fromarray(hsv.clip(0, 255).round().astype(np.uint8), "HSV")
    return np.asarray(picture.convert("RGB"), np.float32)
