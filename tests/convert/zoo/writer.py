"""A prototxt under construction.

The networks of this folder are known architectures, written by generators: no file is copied. They
are slim, with few channels and small inputs, but have the layers and connections of the originals.
"""

from collections.abc import Sequence

CONV = "convolution_param {{ num_output: {} kernel_size: {} stride: {} pad: {} {} }}"


class Net:
    """Collects layers. Each method adds some behind `bottom` and returns the name of the top."""

    def __init__(self, side: int, *, channels: int = 3, width: int | None = None) -> None:
        self._lines = [
            f'input: "data" input_shape {{ dim: 1 dim: {channels} dim: {side} dim: '
            f"{width or side} }}"
        ]
        self._count = 0

    @property
    def text(self) -> str:
        """The whole prototxt."""
        return "\n".join(self._lines) + "\n"

    def layer(
        self, kind: str, bottoms: str | Sequence[str], parameters: str = "", tops: int = 1
    ) -> str:
        """Any layer; of several tops the first is returned, the others end in _1, _2 and so on."""
        self._count += 1
        top = f"{kind.lower()}{self._count}"
        names = [bottoms] if isinstance(bottoms, str) else bottoms
        reads = " ".join(f'bottom: "{name}"' for name in names)
        makes = " ".join(f'top: "{top}{f"_{i}" if i else ""}"' for i in range(tops))
        self._lines.append(f'layer {{ name: "{top}" type: "{kind}" {reads} {makes} {parameters} }}')
        return top

    def conv(
        self,
        bottom: str,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        pad: int | None = None,
        more: str = "",
        kind: str = "Convolution",
    ) -> str:
        """A convolution; it keeps the size, apart from the stride, unless `pad` is given."""
        padding = kernel // 2 if pad is None else pad
        return self.layer(kind, bottom, CONV.format(outputs, kernel, stride, padding, more))

    def relu(self, bottom: str) -> str:
        """A ReLU."""
        return self.layer("ReLU", bottom)

    def conv_relu(
        self, bottom: str, outputs: int, kernel: int = 3, stride: int = 1, *, more: str = ""
    ) -> str:
        """A convolution and a ReLU."""
        return self.relu(self.conv(bottom, outputs, kernel, stride, more=more))

    def norm(self, bottom: str) -> str:
        """BatchNorm and Scale."""
        top = self.layer("BatchNorm", bottom, "batch_norm_param { eps: 0.001 }")
        return self.layer("Scale", top, "scale_param { bias_term: true }")

    def conv_norm(
        self, bottom: str, outputs: int, kernel: int = 3, stride: int = 1, *, more: str = ""
    ) -> str:
        """A convolution without bias, BatchNorm and Scale."""
        return self.norm(
            self.conv(bottom, outputs, kernel, stride, more=f"bias_term: false {more}")
        )

    def conv_norm_relu(
        self, bottom: str, outputs: int, kernel: int = 3, stride: int = 1, *, more: str = ""
    ) -> str:
        """The same and a ReLU."""
        return self.relu(self.conv_norm(bottom, outputs, kernel, stride, more=more))

    def depthwise(self, bottom: str, channels: int, stride: int = 1, kernel: int = 3) -> str:
        """A depthwise convolution with BatchNorm and Scale."""
        return self.conv_norm(bottom, channels, kernel, stride, more=f"group: {channels}")

    def pool(
        self, bottom: str, kernel: int = 2, stride: int = 2, pad: int = 0, kind: str = "MAX"
    ) -> str:
        """A pooling layer."""
        return self.layer(
            "Pooling",
            bottom,
            f"pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} pad: {pad} }}",
        )

    def average(self, bottom: str) -> str:
        """Global average pooling."""
        return self.layer("Pooling", bottom, "pooling_param { pool: AVE global_pooling: true }")

    def dense(self, bottom: str, outputs: int) -> str:
        """An inner product."""
        return self.layer(
            "InnerProduct", bottom, f"inner_product_param {{ num_output: {outputs} }}"
        )

    def classify(self, bottom: str, classes: int = 20) -> str:
        """Global average, an inner product and a softmax."""
        return self.layer("Softmax", self.dense(self.average(bottom), classes))

    def add(self, *bottoms: str) -> str:
        """The sum."""
        return self.layer("Eltwise", bottoms)

    def concat(self, *bottoms: str, axis: int = 1) -> str:
        """A concatenation, by default of channels."""
        return self.layer("Concat", bottoms, f"concat_param {{ axis: {axis} }}")

    def prelu(self, bottom: str) -> str:
        """A PReLU with a slope for each channel."""
        return self.layer("PReLU", bottom)

    def upsample(self, bottom: str, channels: int, factor: int = 2, group: int = 1) -> str:
        """A deconvolution with a bilinear filler."""
        kernel = 2 * factor - factor % 2
        pad = -(-(factor - 1) // 2)
        return self.layer(
            "Deconvolution",
            bottom,
            f"convolution_param {{ num_output: {channels} kernel_size: {kernel} stride: {factor} "
            f'pad: {pad} group: {group} bias_term: false weight_filler {{ type: "bilinear" }} }}',
        )
