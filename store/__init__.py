"""Reads, checks and writes the model folders under model_store/."""
