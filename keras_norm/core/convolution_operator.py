"""A convolution as a linear map on maps of a given size, and its adjoint.

Written with strides, padding, dilation and groups: both directions are plain
convolutions. A transposed convolution is the adjoint of one, and has its
singular values.
"""

import keras
from keras import ops

from keras_norm import errors

_PLAIN = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


class ConvolutionOperator:
    """The linear map of a convolution layer, channels last, one sample.

    Args:
        layer: a built convolution of Keras.
        input_shape: the shape it was built with, of known sizes.

    Raises:
        ValueError: the layer is no convolution, or sizes are unknown.
    """

    def __init__(self, layer, input_shape):
        if not isinstance(layer, (*_PLAIN, *_DEPTHWISE, *_TRANSPOSED)):
            raise errors.received(
                '`method="convolution"` is for convolutions.',
                'Use method="reshape".',
                layer=type(layer).__name__,
            )
        # Keras' transposed convolutions pad by a rule of their own there.
        if getattr(layer, "output_padding", None) is not None:
            raise errors.received(
                '`method="convolution"` takes no `output_padding`.',
                'Use method="reshape".',
                output_padding=layer.output_padding,
            )
        if isinstance(layer, _TRANSPOSED):
            shape = layer.compute_output_shape(input_shape)
        else:
            shape = input_shape
        first = layer.data_format == "channels_first"
        sizes = tuple(shape[2:] if first else shape[1:-1])
        if None in sizes:
            raise errors.received(
                '`method="convolution"` needs inputs of known size: the norm '
                "of a convolution depends on it.",
                'Give `keras.Input` its sizes, or use method="reshape".',
                input_shape=tuple(input_shape),
            )
        self.layer = layer
        self.sizes = sizes
        self.strides = tuple(layer.strides)
        self.dilation = tuple(layer.dilation_rate)
        self.reach = tuple(
            (k - 1) * d
            for k, d in zip(layer.kernel_size, self.dilation, strict=True)
        )
        self.padding = [self._pads(i) for i in range(len(sizes))]
        channels = input_shape[1 if first else -1]
        self.groups = getattr(layer, "groups", 1)
        if isinstance(layer, _DEPTHWISE):
            self.groups = channels
        self.result_shape = (1, *self._result_sizes(), self._results())

    def _pads(self, i):
        """Entries padded before and after along a spatial axis."""
        if self.layer.padding == "valid":
            return 0, 0
        if self.layer.padding == "causal":
            return self.reach[i], 0
        size, stride = self.sizes[i], self.strides[i]
        needed = (-(-size // stride) - 1) * stride + self.reach[i] + 1 - size
        needed = max(needed, 0)
        return needed // 2, needed - needed // 2

    def _result_sizes(self):
        return tuple(
            (n + sum(pads) - reach - 1) // stride + 1
            for n, pads, reach, stride in zip(
                self.sizes, self.padding, self.reach, self.strides, strict=True
            )
        )

    def _results(self):
        shape = self.layer.kernel.shape
        if isinstance(self.layer, _DEPTHWISE):
            return shape[-2] * shape[-1]
        return shape[-1]

    def _kernel(self, kernel):
        """(*sizes, inputs of a group, results)."""
        if isinstance(self.layer, _DEPTHWISE):
            shape = (*kernel.shape[:-2], 1, self._results())
            return ops.reshape(kernel, shape)
        return kernel

    def forward(self, x, kernel):
        """The convolution of (1, *sizes, inputs)."""
        x = ops.pad(x, [(0, 0), *self.padding, (0, 0)])
        return ops.conv(
            x,
            self._kernel(kernel),
            strides=self.strides,
            padding="valid",
            data_format="channels_last",
            dilation_rate=self.dilation,
        )

    def backward(self, y, kernel):
        """The adjoint: (1, *result sizes, results) -> (1, *sizes, inputs)."""
        kernel = self._kernel(kernel)
        for axis, stride in enumerate(self.strides, start=1):
            y = _spaced(y, axis, stride)
        pads = [(0, 0)]
        for i, (before, _) in enumerate(self.padding):
            low = self.reach[i] - before
            high = self.sizes[i] + self.reach[i] - y.shape[1 + i] - low
            pads.append((low, high))
        spatial = len(self.sizes)
        *sizes, inputs, results = kernel.shape
        k = ops.flip(kernel, axis=tuple(range(spatial)))
        k = ops.reshape(k, (*sizes, inputs, self.groups, -1))
        order = (*range(spatial), spatial + 2, spatial + 1, spatial)
        k = ops.reshape(
            ops.transpose(k, order),
            (*sizes, results // self.groups, self.groups * inputs),
        )
        return ops.conv(
            ops.pad(y, [*pads, (0, 0)]),
            k,
            strides=1,
            padding="valid",
            data_format="channels_last",
            dilation_rate=self.dilation,
        )


def _spaced(y, axis, stride):
    """`y` with stride - 1 zeros between the entries along an axis."""
    if stride == 1:
        return y
    size = y.shape[axis]
    y = ops.expand_dims(y, axis + 1)
    pads = [(0, 0)] * len(y.shape)
    pads[axis + 1] = (0, stride - 1)
    y = ops.pad(y, pads)
    shape = list(y.shape)
    shape[axis : axis + 2] = [size * stride]
    y = ops.reshape(y, shape)
    index = [slice(None)] * len(shape)
    index[axis] = slice(0, (size - 1) * stride + 1)
    return y[tuple(index)]
