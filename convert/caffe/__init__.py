"""Reads and writes Caffe's own files: the schema, prototxt text, caffemodel blobs, the network."""
