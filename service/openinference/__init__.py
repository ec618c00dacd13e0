"""The Open Inference Protocol v2 over HTTP and gRPC, with Triton's extension for binary tensors."""
