"""The Open Inference Protocol v2 over gRPC; needs the extra grpc."""

import os

# gRPC's own log lines have another form. What matters reaches the log as an error of ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
