"""Offline: a Caffe model in, a verified ONNX file out."""
