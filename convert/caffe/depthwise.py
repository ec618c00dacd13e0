"""The names that forks of Caffe gave to a convolution with a group for each channel."""

DEPTHWISE = frozenset(
    ["ConvolutionDW", "ConvolutionDepthwise", "DepthwiseConv", "DepthwiseConvolution"]
)
"""Layer types with the parameters of Convolution, whose `group` is the number of channels."""
