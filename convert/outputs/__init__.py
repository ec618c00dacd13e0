"""The inputs and outputs of a converted file: `heads`, `detections` or `raw`."""
