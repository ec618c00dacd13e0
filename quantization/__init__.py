"""Makes a model's `model.int8.onnx`, and measures it: `sfd models quantize`.

It stands above `convert`, which quantizes; `store`, which has the models; and `detection`, which
reads images and runs the network. None of them imports it.
"""

import sfd.telemetry  # noqa: F401 - before any module imports onnxruntime
