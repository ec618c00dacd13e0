"""Limits that settings share with the metrics and the documentation."""

MAX_PIXELS = 50_000_000
"""Of an image, unless a setting says otherwise."""
MAX_BATCH = 256
"""Most images in one inference; the largest bucket of the batch size histogram."""
MAX_THREADS = 512
MAX_WORKERS = 64
MAX_QUEUE = 100_000
LEAST_DECODE_MEMORY = 2**24
"""A smaller number most likely lacks its unit: `64` instead of `64MiB`."""
