"""Measures detections against ground truth: the WIDER FACE protocol and AP at IoU 0.5."""
