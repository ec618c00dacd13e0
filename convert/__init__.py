"""Converts Caffe models to verified ONNX files: `sfd convert`, and two calls from Python.

From file to file:

```python
from pathlib import Path

from convert import Options, convert_file

report = convert_file(
    Path("deploy.prototxt"),
    Path("weights.caffemodel"),
    Path("model.onnx"),
    Options(name="my-detector", mean=(104, 117, 123)),
)
print(report.verification.status, report.outputs)
```

From bytes to an `onnx.ModelProto`:

```python
from convert import convert_bytes

model, report = convert_bytes(
    Path("deploy.prototxt").read_bytes(), Path("weights.caffemodel").read_bytes()
)
print(model.graph.output[0].name, report.parameters)
```

`convert_file` writes the file only if the model computes the same as OpenCV 4, or as the NumPy
reference where OpenCV can't. Without OpenCV 4 the status is `unverified`. Every failure is an
`sfd.errors.SfdError`, whose message says what to do.
"""

from importlib import import_module
from typing import TYPE_CHECKING

import sfd.telemetry  # noqa: F401 - before any module imports onnxruntime

if TYPE_CHECKING:
    from convert.conversion import (
        ConversionError,
        VerificationError,
        convert_bytes,
        convert_file,
        explain_file,
    )
    from convert.options import Options
    from convert.outputs.kinds import Kind
    from convert.report import Report, Status, Verification

__all__ = [
    "ConversionError",
    "Kind",
    "Options",
    "Report",
    "Status",
    "Verification",
    "VerificationError",
    "convert_bytes",
    "convert_file",
    "explain_file",
]

_MODULES = {
    "Kind": "convert.outputs.kinds",
    "Options": "convert.options",
    "Report": "convert.report",
    "Status": "convert.report",
    "Verification": "convert.report",
}


def __getattr__(name: str) -> object:
    # Imported only when used, because the trainer reads prototxts without onnx.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "convert.conversion")), name)
