"""Limits that settings share with the metrics and the documentation."""

MAX_BATCH = 256
"""Most images in one inference; the largest bucket of the batch size histogram."""
MAX_THREADS = 512
MAX_WORKERS = 64
MAX_QUEUE = 100_000
