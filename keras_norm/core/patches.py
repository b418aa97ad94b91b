"""What each place of a kernel sees: strided slices of padded data.

For kernels of any number of spatial axes, none for a dense layer; the channels
are last. There is never more than the slice of one place at a time.
"""

import itertools

from keras import ops

from keras_norm import errors
from keras_norm.core.convolution_layer import PADDINGS
from keras_norm.core.convolution_layer import surrounded


class Patches:
    """The places of a kernel and how it moves.

    Args:
        sizes: of the kernel along the spatial axes.
        strides: one integer, or one for each axis.
        padding: "valid" or "same".
        dilation_rate: one integer, or one for each axis.
    """

    def __init__(self, sizes, strides=1, padding="valid", dilation_rate=1):
        if padding not in PADDINGS:
            raise errors.unknown_name("padding", padding, list(PADDINGS))
        self.sizes, self.padding = tuple(sizes), padding
        self.strides = self.for_each("strides", strides)
        self.dilation = self.for_each("dilation_rate", dilation_rate)

    def for_each(self, name, value):
        """One integer for each axis of the kernel."""
        rank = len(self.sizes)
        several = isinstance(value, (list, tuple))
        values = tuple(value) if several else (value,) * rank
        if len(values) != rank:
            raise errors.received(
                f"`{name}` must be one integer, or one for each axis of the "
                "kernel.",
                **{name: value},
                kernel_size=self.sizes,
            )
        return values

    @property
    def count(self):
        """Number of places."""
        total = 1
        for size in self.sizes:
            total *= size
        return total

    @property
    def middle(self):
        """Number of the place that sees padding the least often."""
        number = 0
        for size in self.sizes:
            number = number * size + size // 2
        return number

    def padded(self, x):
        """Data with the zeros of "same" around them."""
        if self.padding == "valid":
            return x
        for i, size in enumerate(self.sizes):
            reach = (size - 1) * self.dilation[i]
            length, stride = ops.shape(x)[i + 1], self.strides[i]
            total = (-(-length // stride) - 1) * stride + reach + 1 - length
            static = isinstance(total, int)
            total = max(total, 0) if static else ops.maximum(total, 0)
            x = surrounded(x, i + 1, total // 2, total - total // 2)
        return x

    def of(self, x):
        """Slices of padded data, places in the order of the kernel's axes."""
        for place in itertools.product(*map(range, self.sizes)):
            index = [slice(None)]
            for i, k in enumerate(place):
                start = k * self.dilation[i]
                last = (self.sizes[i] - 1) * self.dilation[i]
                end = (start - last) or None
                index.append(slice(start, end, self.strides[i]))
            yield x[tuple(index)]
