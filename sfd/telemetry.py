"""Keeps onnxruntime from reporting to its maker. A package imports this before onnxruntime.

From version 1.29 on, onnxruntime's wheels for Linux and macOS send events about each process and
model to Microsoft, and write an identifier and a database under the user's cache folder. It reads
the variable once, when it is imported.
"""

import os

VARIABLE = "ORT_DISABLE_TELEMETRY"

# A user who wants to report can set it to 0.
os.environ.setdefault(VARIABLE, "1")
