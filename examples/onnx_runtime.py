"""Find the faces of a photograph in plain onnxruntime: python onnx_runtime.py model.onnx photo.jpg.

The file takes RGB bytes [batch, height, width, 3] and gives the box and the score of every prior.
Channel order, mean and decoding of boxes are inside. This script fits the photograph into the
input, drops low scores, and keeps the best of overlapping boxes (NMS).
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MIN_SCORE, MAX_IOU = 0.65, 0.3  # as in the model's model.toml
MEAN_RGB = (123, 117, 104)  # after the mean is subtracted, this padding is zero

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
_, height, width, _ = session.get_inputs()[0].shape

photo = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
fitted = ImageOps.contain(photo, (width, height), Image.Resampling.BILINEAR)
left, top = (width - fitted.width) // 2, (height - fitted.height) // 2
canvas = Image.new("RGB", (width, height), MEAN_RGB)
canvas.paste(fitted, (left, top))

boxes, scores = session.run(["boxes", "scores"], {"images": np.asarray(canvas)[None]})

# [priors, 4] as x1, y1, x2, y2 in fractions of the input; [priors].
boxes, scores = boxes[0], scores[0, :, 0]
boxes, scores = boxes[scores >= MIN_SCORE], scores[scores >= MIN_SCORE]
pixels = boxes * [width, height, width, height] - [left, top, left, top]
pixels *= [photo.width / fitted.width, photo.height / fitted.height] * 2
pixels = pixels.clip(0, [photo.width, photo.height] * 2)

order = np.argsort(-scores, kind="stable")
while order.size:
    best, order = order[0], order[1:]
    x1, y1, x2, y2 = pixels[best]
    print(f"{x1:.0f},{y1:.0f} {x2 - x1:.0f}x{y2 - y1:.0f} {scores[best]:.2f}")
    one, others = boxes[best], boxes[order]
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    common = sides.clip(0).prod(1)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    order = order[common / ((one[2:] - one[:2]).prod() + areas - common) <= MAX_IOU]
