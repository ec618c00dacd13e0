"""Labelled images: reading lists of them, sampling and augmenting them."""
