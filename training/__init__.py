"""Generates the architecture, trains it, and measures what it finds."""
