"""Image files in, faces out: decoding, letterbox, batches on onnxruntime, thresholds and NMS.

    file bytes -> images -> letterbox, tiles -> batcher -> session -> detector (NMS) -> Detection

`opening.open_detector` makes a `Detector` from a model folder. Nothing in this package uses HTTP,
metrics or traces: a `Detector` reports to an `Observer`, and `service` counts.
"""

import sfd.telemetry  # noqa: F401 - before any module imports onnxruntime
