"""Network deconvolution: a convolution that whitens the patches it sees.

Ye et al., 2020, https://arxiv.org/abs/1905.11926
"""

import math

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.deconvolution import Deconvolution
from keras_norm.core.layer import positive

PADDINGS = ("valid", "same")
FORMATS = ("channels_last", "channels_first")


@keras.saving.register_keras_serializable("keras_norm")
class DeconvolutionConv2D(Deconvolution):
    """y = activation(kernel * D (patch - mean) + bias), D ~ (cov + eps I)^-1/2.

    D comes from `iterations` coupled Newton steps on the covariance of the
    patches, zero padding included, divided by its Frobenius norm. D and mean
    are folded into kernel and bias: training and inference are one
    convolution.

    Area: patches of the batch. Operation: whiten (Newton). Recovery: the
    layer's own kernel. Statistics: the batch in training, moving averages of
    mean and D in inference.

    Args:
        filters: number of output channels.
        kernel_size: one integer, or height and width.
        strides: one integer, or height and width.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first", or None for the one
            of the Keras config. Channels-first data are transposed to
            channels-last, computed, and transposed back, on every backend.
        dilation_rate: one integer, or height and width.
        groups: groups of channels, each with filters, mean and D of its own.
        activation: as in `keras.layers.Conv2D`.
        use_bias: add a learned `bias`.
        block: channels whitened together, with all their places in the
            patch. Where it does not divide the channels, the greatest common
            divisor of the two is taken; where it exceeds them, all channels.
            With groups it is the channels of a group.
        iterations: Newton steps; 5 whitens in part.
        sampling_stride: statistics come from every `sampling_stride`-th patch
            along each axis.
        momentum: fraction kept of the moving averages.
        epsilon: added to the diagonal of the covariance.
        synchronized: add up the statistics of all replicas.
        **kwargs: `kernel_...`, `bias_...`, `activity_regularizer`, `name`,
            `dtype` as in `keras.layers.Conv2D`.

    Call arguments:
        inputs: tensor (batch, height, width, channels), or channels first.
        training: True uses and updates batch statistics.
        mask: refused.

    Raises:
        ValueError: sizes below 1, groups that do not divide the channels or
            the filters, strides together with dilation, an input smaller than
            the kernel, a mask.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.DeconvolutionConv2D(4, 3, padding="same")
    >>> x = np.random.normal(size=(8, 6, 6, 3)).astype("float32")
    >>> tuple(layer(x, training=True).shape)
    (8, 6, 6, 4)

    Reference:

    - Ye et al., Network Deconvolution, ICLR 2020,
      https://arxiv.org/abs/1905.11926

    Note: the entries of a patch are numbered as the authors' program numbers
    them, i = (channel * height + row) * width + column. With C / block = B > 1
    blocks entry i is feature i // B of block i % B, and all blocks share one
    mean and one D. Zeros of the padding are not whitened to zeros: the bias
    removes the mean there too. The program takes 1 x 1 patches from the
    flattened positions, we from the same grid as any others. Computed in
    float32 also under mixed precision. Weights: kernel, bias as
    `keras.layers.Conv2D`, whose saved weights load; moving_mean
    (groups * F,), moving_matrix (groups, F, F), F = block * height * width.
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
        activation=None,
        use_bias=True,
        block=64,
        iterations=5,
        sampling_stride=3,
        momentum=0.9,
        epsilon=1e-5,
        synchronized=False,
        **kwargs,
    ):
        super().__init__(
            block=block,
            iterations=iterations,
            momentum=momentum,
            synchronized=synchronized,
            activation=activation,
            use_bias=use_bias,
            epsilon=epsilon,
            **kwargs,
        )
        for name, value in (
            ("filters", filters),
            ("groups", groups),
            ("sampling_stride", sampling_stride),
        ):
            positive(name, value)
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
        self.sampling_stride = sampling_stride
        self.taps = math.prod(self.kernel_size)

    @property
    def first(self):
        """Are the data channels-first?"""
        return self.data_format == "channels_first"

    def build(self, inputs_shape):
        """Create kernel, bias and state."""
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
        if self.groups == 1 and self.block < channels:
            width = math.gcd(self.block, channels)
        blocks = channels // self.groups // width
        self.build_rows(self.groups, width * self.taps, blocks)
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

    # Data ---------------------------------------------------------------------

    def prepared(self, x, training):
        """Channels last; padded where patches are to be seen."""
        if self.first:
            x = ops.moveaxis(x, 1, -1)
        if not training or self.padding == "valid":
            return x
        widths = [self.missing(i, ops.shape(x)[i + 1]) for i in range(2)]
        return ops.pad(x, [[0, 0], *widths, [0, 0]])

    def missing(self, i, size):
        """[before, after]: the zeros of "same", as of the convolution."""
        stride = self.strides[i]
        total = self.reach(i)
        if stride > 1:
            total = (-(-size // stride) - 1) * stride + total + 1 - size
            static = isinstance(total, int)
            total = max(total, 0) if static else ops.maximum(total, 0)
        return [total // 2, total - total // 2]

    def pivot(self, base, training):
        """None in inference with padding, whose zeros must stay zeros."""
        if self.padding == "same" and not training:
            return None
        return super().pivot(base, training)

    def rows(self, x):
        """Patches as rows, entries in the order of the note."""
        columns = []
        for row in self.along(x, 0):
            columns += self.along(row, 1)
        patches = ops.stack(columns, axis=-1)
        if self.blocks > 1:
            patches = ops.reshape(patches, (-1, self.cut.width, self.blocks))
            patches = ops.transpose(patches, (0, 2, 1))
        return ops.reshape(patches, (-1, self.cut.channels))

    def along(self, x, i):
        """What each place of the kernel along an axis sees."""
        step = self.sampling_stride * self.strides[i]
        found, last = [], self.reach(i)
        for start in range(0, last + 1, self.dilation_rate[i]):
            seen = slice(start, (start - last) or None, step)
            found.append(x[:, seen] if i == 0 else x[:, :, seen])
        return found

    # Kernel -------------------------------------------------------------------

    def entries(self, kernel):
        """(height, width, channels, filters) in the order of the note."""
        kernel = ops.transpose(kernel, (2, 0, 1, 3))
        outputs = self.filters // self.groups
        shape = (self.cut.width, self.blocks, self.groups, outputs)
        return ops.reshape(kernel, shape)

    def of_entries(self, entries):
        """Back to the kernel of Keras."""
        kernel = ops.reshape(entries, (-1, *self.kernel_size, self.filters))
        return ops.transpose(kernel, (1, 2, 0, 3))

    def linear(self, x, kernel, training):
        """One convolution."""
        padding = "valid" if training else self.padding
        if x.shape[0] == 0:
            # TensorFlow's convolution of no sample has the input's shape.
            sizes = self.sizes(x.shape[1:-1], padding)
            return ops.zeros((0, *sizes, self.filters), x.dtype)
        return ops.conv(
            x,
            kernel,
            strides=self.strides,
            padding=padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )

    def result(self, y):
        """Bias, activation, dtype; channels where the input has them."""
        y = self.finish(y)
        return ops.moveaxis(y, -1, 1) if self.first else y


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
