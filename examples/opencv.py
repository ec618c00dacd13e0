"""Find the faces of a photograph in OpenCV 5 or 4: python opencv.py model.onnx photo.jpg.

OpenCV 5 no longer reads Caffe's files. It reads the ONNX file that `sfd convert` makes from them.
The file takes RGB bytes [1, height, width, 3]; mean and channel order are inside, so
`blobFromImage`, which would move the channels to the front, is not needed.
"""

import sys

import cv2
import numpy as np

SIZE = 640  # height and width of the model's input
MIN_SCORE, MAX_IOU = 0.65, 0.3  # as in the model's model.toml
MEAN_BGR = (104, 117, 123)  # after the mean is subtracted, this padding is zero

network = cv2.dnn.readNetFromONNX(sys.argv[1])
photo = cv2.imread(sys.argv[2])
if photo is None:
    sys.exit(f"{sys.argv[2]}: OpenCV cannot read this image")

scale = SIZE / max(photo.shape[:2])
fitted = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
top, left = (SIZE - fitted.shape[0]) // 2, (SIZE - fitted.shape[1]) // 2
canvas = np.full((SIZE, SIZE, 3), MEAN_BGR, np.uint8)
canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted

network.setInput(np.ascontiguousarray(canvas[None, :, :, ::-1]), "images")
boxes, scores = network.forward(["boxes", "scores"])

# [priors, 4] as x1, y1, x2, y2 in fractions of the input, to x, y, width, height in pixels.
corners = (boxes[0] * SIZE - [left, top, left, top]) / scale
rectangles = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
scores = scores[0, :, 0]
for best in cv2.dnn.NMSBoxes(rectangles.tolist(), scores.tolist(), MIN_SCORE, MAX_IOU):
    x, y, w, h = rectangles[best]
    print(f"{x:.0f},{y:.0f} {w:.0f}x{h:.0f} {scores[best]:.2f}")
