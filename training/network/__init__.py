"""A Caffe network in torch, its layers, its outputs, and SSD's loss on them."""
