"""Reads, checks and fills the model folders under model_store/."""
