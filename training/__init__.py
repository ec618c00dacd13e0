"""Designs detectors of the SFD family, trains them and measures them."""

import sfd.telemetry  # noqa: F401 - before any module imports onnxruntime
