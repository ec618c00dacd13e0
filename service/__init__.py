"""The HTTP service around `detection`."""
