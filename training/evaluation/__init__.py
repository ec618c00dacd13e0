"""Measures a detector: predictions, precision-recall curves, WIDER FACE's protocol."""
