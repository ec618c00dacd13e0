"""Side-by-side measurements."""

import sfd.telemetry  # noqa: F401 - before any module imports onnxruntime
