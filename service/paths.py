"""Groups of paths that several parts of the service treat alike."""

PROBES = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Asked every few seconds by probes and scrapers."""

FOLDERS = ("/static/", "/docs/")
"""Folders of files, whose pages use relative paths."""
