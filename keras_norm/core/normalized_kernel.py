"""Layers that normalize what their own kernel makes: options and data.

Far from zero h would be a sum of large numbers: in training the kernel is
applied to the data relative to a pivot, and what h then lacks is a number for
each output, its origin.
"""

from keras import ops

from keras_norm import errors
from keras_norm.core.convolution_layer import ConvolutionLayer
from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_sum
from keras_norm.core.linear import KernelLayer
from keras_norm.core.moments import TINY
from keras_norm.core.moments import pivot_of
from keras_norm.core.moments import settled
from keras_norm.core.patches import Patches
from keras_norm.core.primitives import at_least_one
from keras_norm.core.primitives import size_of
from keras_norm.core.statistics import check_momentum

HALVES = ("float16", "bfloat16")


def pivot_of_input(x, mask=None, exact=False):
    """A value near the mean of each channel, (C,), without gradient.

    Args:
        x: channels last.
        mask: weights of the rank of x, 1 channel; None: all count.
        exact: the mean, where the kernel rounds what is far from it.
    """
    axes = tuple(range(len(x.shape) - 1))
    x = ops.stop_gradient(x)
    pivot = ops.reshape(pivot_of(x, axes), (-1,))
    if mask is not None:
        total = ops.maximum(ops.sum(mask), TINY)
        rows = ops.where(mask > 0, x, 0.0)
        pivot = settled(ops.sum(mask * rows / total, axis=axes))
    elif exact:
        # About the first pivot, so that equal data have themselves as pivot.
        size = at_least_one(size_of(x, axes))
        pivot = settled(pivot, ops.sum(x - pivot, axis=axes) / size)
    return pivot


def common_pivot(x, mask=None, exact=False, synchronized=False):
    """`pivot_of_input`, one number for all replicas.

    Args:
        x: channels last.
        mask: weights of x's leading axes, 1 channel; None: all count.
        exact: the mean, where the kernel rounds what is far from it.
        synchronized: is the pivot that of all replicas?
    """
    pivot = pivot_of_input(x, mask, exact)
    if not synchronized or replica_count() == 1:
        return pivot
    if mask is None:
        count = size_of(x, range(len(x.shape) - 1))
    else:
        count = ops.stop_gradient(ops.sum(mask))
    # A replica without entries knows no value of the data.
    count = ops.reshape(ops.convert_to_tensor(count, dtype=x.dtype), (1,))
    sent = replica_sum(ops.concatenate([count * pivot, count]))
    return settled(sent[:-1] / ops.maximum(sent[-1:], TINY))


class NormalizedKernel(KernelLayer):
    """Base of layers with a kernel whose results are normalized.

    Args:
        use_bias: add a `bias` before normalization.
        momentum: fraction kept of the moving averages.
        center: add a learned `beta`.
        scale: multiply by a learned `gamma`.
        **kwargs: `beta_...`, `gamma_...`, and see `KernelLayer`.
    """

    fixed: tuple = ("axis",)

    def __init__(
        self,
        use_bias=False,
        momentum=0.9,
        center=True,
        scale=True,
        **kwargs,
    ):
        super().__init__(
            use_bias=use_bias, center=center, scale=scale, **kwargs
        )
        self.momentum = check_momentum("momentum", momentum)

    @property
    def half(self):
        """Is the kernel applied in half precision?"""
        return self.compute_dtype in HALVES

    def load_own_variables(self, store):
        """Load a layer of this kind, or kernel and bias of Keras' layer."""
        plain = [self.kernel, self.bias] if self.use_bias else [self.kernel]
        if len(store.keys()) == len(plain):
            for i, variable in enumerate(plain):
                variable.assign(store[str(i)])
        else:
            super().load_own_variables(store)


class NormalizedConvolution(NormalizedKernel, ConvolutionLayer):
    """The same with the kernel of `keras.layers.Conv2D`."""

    def build(self, inputs_shape):
        """Create kernel and bias; the places of the kernel."""
        super().build(inputs_shape)
        self.patches = Patches(
            self.kernel_size, self.strides, self.padding, self.dilation_rate
        )

    def call(self, inputs, training=None, mask=None):
        """Convolve and normalize; see the class."""
        if mask is not None:
            raise errors.received(
                "`mask` is not supported: patches mix entries that are masked "
                "with entries that are not.",
                "End the mask before this layer.",
                mask_shape=tuple(mask.shape),
            )
        x = self.widened(inputs)
        if self.first:
            x = ops.moveaxis(x, 1, -1)
        y = self.transform(x, bool(training) and self.trainable)
        y = self.narrowed(self.activation(y))
        return ops.moveaxis(y, -1, 1) if self.first else y

    def transform(self, x, training):
        """Wide channels-last data -> what the activation is applied to."""
        raise NotImplementedError

    def kernel_of_data(self):
        """The kernel that the convolution is computed with."""
        return self.kernel

    def linear(self, x, padding=None, dtype=None):
        """The convolution in the compute dtype, as wide as x."""
        dtype = dtype or self.compute_dtype
        kernel = ops.cast(self.kernel_of_data(), dtype)
        h = self.convolved(ops.cast(x, dtype), kernel, padding or self.padding)
        return ops.cast(h, x.dtype)

    def relative(self, x, pivot):
        """(the convolution of x - pivot, the padded x - pivot)."""
        data = self.patches.padded(x) - pivot
        if self.padding == "valid" or not self.half:
            return self.linear(data, "valid"), data
        # Zeros of the padding are far from a pivot that half precision may
        # not hold: what they see is the same for all samples.
        border = self.patches.padded(ops.zeros_like(x[:1]) + pivot) - pivot
        border = self.linear(border, "valid", data.dtype)
        inner = self.patches.padded(x - pivot)
        return self.linear(inner, "valid") + border, data
