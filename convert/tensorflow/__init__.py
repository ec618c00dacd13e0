"""Imports the weights of TensorFlow's MobileNet-V2 SSD into a caffemodel, without TensorFlow."""
