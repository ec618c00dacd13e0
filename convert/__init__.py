"""Converts a Caffe model to a verified ONNX file: `sfd convert`, and a call from Python.

```python
from pathlib import Path

from convert.conversion import Options, convert

report = convert(
    Path("deploy.prototxt"),
    Path("weights.caffemodel"),
    Path("model.onnx"),
    Options(name="my-detector", mean=(104, 117, 123)),
)
print(report.verification.status, report.outputs)
```

The call writes the file only if OpenCV 4 computes the same; where OpenCV 4 is not installed, the
status is `unverified`. Every failure is an `sfd.errors.SfdError`, whose message says what to do.
"""
