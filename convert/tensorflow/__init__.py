"""Takes the weights of TensorFlow's MobileNet-V2 SSD over into a caffemodel, without TensorFlow."""
