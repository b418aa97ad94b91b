"""Layers with the kernel and the arguments of Keras' Conv2D.

Sizes, padding and what each place of the kernel sees; data are computed with
channels last on every backend.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.core.linear import KernelLayer

PADDINGS = ("valid", "same")
FORMATS = ("channels_last", "channels_first")


class ConvolutionLayer(KernelLayer):
    """Base of layers with the kernel of `keras.layers.Conv2D`.

    Args:
        filters: number of output channels.
        kernel_size: one integer, or height and width.
        strides: one integer, or height and width.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first", or None for the one
            of the Keras config.
        dilation_rate: one integer, or height and width.
        groups: groups of channels, each with filters of its own.
        **kwargs: see `KernelLayer`.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        groups=1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        positive("filters", filters)
        positive("groups", groups)
        if filters % groups:
            raise errors.received(
                "`groups` must divide `filters`.",
                groups=groups,
                filters=filters,
            )
        if padding not in PADDINGS:
            raise errors.unknown_name("padding", padding, list(PADDINGS))
        data_format = data_format or keras.config.image_data_format()
        if data_format not in FORMATS:
            raise errors.unknown_name("data_format", data_format, list(FORMATS))
        self.filters, self.groups = filters, groups
        self.kernel_size = pair("kernel_size", kernel_size)
        self.strides = pair("strides", strides)
        self.dilation_rate = pair("dilation_rate", dilation_rate)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise errors.received(
                "`strides` and `dilation_rate` must not both exceed 1.",
                strides=strides,
                dilation_rate=dilation_rate,
            )
        self.padding, self.data_format = padding, data_format

    @property
    def first(self):
        """Are the data channels-first?"""
        return self.data_format == "channels_first"

    def build(self, inputs_shape):
        """Create kernel and bias."""
        axis = 1 if self.first else -1
        if len(inputs_shape) != 4:
            raise errors.received(
                "The input must have rank 4.", input_shape=inputs_shape
            )
        channels = inputs_shape[axis]
        if channels is None:
            raise errors.undefined_dimension(axis, inputs_shape)
        if channels % self.groups:
            raise errors.groups_must_divide(self.groups, channels)
        self.compute_output_shape(inputs_shape)
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={axis: channels})
        width = channels // self.groups
        self.add_kernel((*self.kernel_size, width, self.filters))
        self.built = True

    def compute_output_shape(self, inputs_shape):
        """As `keras.layers.Conv2D`."""
        sizes = list(inputs_shape[2:] if self.first else inputs_shape[1:-1])
        found = self.sizes(sizes, self.padding)
        if min((n for n in found if n is not None), default=1) < 1:
            raise errors.received(
                "The input must not be smaller than the kernel.",
                "Use padding='same' or a smaller kernel.",
                input_shape=inputs_shape,
                kernel_size=self.kernel_size,
                dilation_rate=self.dilation_rate,
            )
        if self.first:
            return (inputs_shape[0], self.filters, *found)
        return (inputs_shape[0], *found, self.filters)

    def sizes(self, sizes, padding):
        """Height and width of the result, None where they are unknown."""
        found = []
        for i, size in enumerate(sizes):
            if size is not None and padding == "valid":
                size = size - self.reach(i)
            found.append(None if size is None else -(-size // self.strides[i]))
        return found

    def reach(self, i):
        """Entries of the input between the ends of the kernel."""
        return (self.kernel_size[i] - 1) * self.dilation_rate[i]

    def padded(self, x):
        """Channels-last data with the zeros of "same" around them."""
        if self.padding == "valid":
            return x
        for i in range(2):
            x = surrounded(x, i + 1, *self.missing(i, ops.shape(x)[i + 1]))
        return x

    def missing(self, i, size):
        """[before, after]: the zeros of "same", as of the convolution."""
        stride = self.strides[i]
        total = self.reach(i)
        if stride > 1:
            total = (-(-size // stride) - 1) * stride + total + 1 - size
            if self.reach(i) + 1 < stride:
                static = isinstance(total, int)
                total = max(total, 0) if static else ops.maximum(total, 0)
        return [total // 2, total - total // 2]

    def along(self, x, i, every=1):
        """What each place of the kernel along an axis sees of padded data.

        Args:
            x: channels-last data.
            i: 0 for rows, 1 for columns.
            every: at every so many places of the result.
        """
        found, last = [], self.reach(i)
        for start in range(0, last + 1, self.dilation_rate[i]):
            seen = slice(start, (start - last) or None, every * self.strides[i])
            found.append(x[:, seen] if i == 0 else x[:, :, seen])
        return found

    def convolved(self, x, kernel, padding):
        """The convolution of channels-last data."""
        if x.shape[0] == 0:
            # TensorFlow's convolution of no sample has the input's shape.
            sizes = self.sizes(x.shape[1:-1], padding)
            # Sums of nothing: a replica without samples takes part in what
            # the others send back.
            nothing = ops.sum(x) + ops.sum(kernel[..., :0])
            return ops.zeros((0, *sizes, kernel.shape[-1]), x.dtype) + nothing
        return ops.conv(
            x,
            kernel,
            strides=self.strides,
            padding=padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )


def surrounded(x, axis, before, after):
    """Zeros before and after the data along an axis."""
    # Not ops.pad: exports have widths that depend on unknown sizes.
    parts = []
    for width in (before, after):
        shape = list(ops.shape(x))
        shape[axis] = width
        parts.append(ops.zeros(shape, x.dtype))
    return ops.concatenate([parts[0], x, parts[1]], axis=axis)


def pair(name, value):
    """One positive integer for both axes, or two."""
    several = isinstance(value, (list, tuple))
    values = tuple(value) if several else (value, value)
    if len(values) != 2:
        raise errors.received(
            f"`{name}` must be one integer or two.", **{name: value}
        )
    for one in values:
        positive(name, one)
    return values
