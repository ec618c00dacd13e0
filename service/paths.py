"""Groups of paths that several parts of the service treat alike."""

METRICS = "/metrics"
"""The metrics of this process."""

METRICS_TARGETS = "/metrics/targets"
"""The replicas' metrics, only on a cluster."""

PROBES = frozenset(
    {"/livez", "/readyz", METRICS, METRICS_TARGETS, "/v2/health/live", "/v2/health/ready"}
)
"""Asked every few seconds by probes and scrapers."""

FOLDERS = ("/static/", "/docs/")
"""Folders of files, whose pages use relative paths."""
