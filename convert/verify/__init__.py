"""Proof that a converted file computes what Caffe's own network does."""

from convert.verify.verification import verify

__all__ = ["verify"]
