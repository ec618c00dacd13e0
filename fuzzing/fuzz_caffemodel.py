"""Fuzzes the weights of a small network.

Every caffemodel is converted to a file that ONNX's own check accepts, or refused with an SfdError.
"""

from harness import instrumented, main

with instrumented():
    from convert.conversion import convert_bytes
    from convert.layers.registry import handlers
    from convert.options import Options
    from sfd.errors import SfdError

    # They are imported when they are first asked for.
    handlers()

PROTOTXT = b"""\
name: "small"
input: "data"
input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 2 kernel_size: 3 stride: 2 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "PReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 2 } }
"""


def one(data: bytes) -> None:
    """Convert one caffemodel."""
    try:
        model, _ = convert_bytes(PROTOTXT, data, Options(verify=False))
    except SfdError as error:
        assert str(error).strip(), "an error without a message"
        return
    assert model.graph.output[0].name == "fc"


if __name__ == "__main__":
    main(one)
