"""Designs detectors of the SFD family, trains them and measures them."""
