"""Image files in, faces out: decoding, letterbox, batches on onnxruntime, thresholds and NMS.

    file bytes -> images -> letterbox, tiles -> batcher -> session -> detector (NMS) -> Detection

`opening.open_detector` makes a `Detector` from a model folder. Nothing here knows of HTTP, metrics
or traces: a `Detector` tells an `Observer` what happened, and `service` counts it.
"""
