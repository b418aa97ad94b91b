"""Network deconvolution: a convolution that whitens the patches it sees.

Ye et al., 2020, https://arxiv.org/abs/1905.11926
"""

import math

import keras
from keras import ops

from keras_norm.core.convolution_layer import ConvolutionLayer
from keras_norm.core.deconvolution import Deconvolution
from keras_norm.core.layer import positive


@keras.saving.register_keras_serializable("keras_norm")
class DeconvolutionConv2D(Deconvolution, ConvolutionLayer):
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
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
            activation=activation,
            use_bias=use_bias,
            epsilon=epsilon,
            **kwargs,
        )
        positive("sampling_stride", sampling_stride)
        self.sampling_stride = sampling_stride
        self.taps = math.prod(self.kernel_size)

    def build(self, inputs_shape):
        """Create kernel, bias and state."""
        super().build(inputs_shape)
        channels = inputs_shape[1 if self.first else -1]
        width = channels // self.groups
        if self.groups == 1 and self.block < channels:
            width = math.gcd(self.block, channels)
        blocks = channels // self.groups // width
        self.build_rows(self.groups, width * self.taps, blocks)

    # Data ---------------------------------------------------------------------

    def prepared(self, x, training):
        """Channels last; padded where patches are to be seen."""
        if self.first:
            x = ops.moveaxis(x, 1, -1)
        return self.padded(x) if training else x

    def pivot(self, base, training):
        """None in inference with padding, whose zeros must stay zeros."""
        if self.padding == "same" and not training:
            return None
        return super().pivot(base, training)

    def rows(self, x):
        """Patches as rows, entries in the order of the note."""
        columns = []
        for row in self.along(x, 0, self.sampling_stride):
            columns += self.along(row, 1, self.sampling_stride)
        patches = ops.stack(columns, axis=-1)
        if self.blocks > 1:
            patches = ops.reshape(patches, (-1, self.cut.width, self.blocks))
            patches = ops.transpose(patches, (0, 2, 1))
        return ops.reshape(patches, (-1, self.cut.channels))

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
        return self.convolved(x, kernel, "valid" if training else self.padding)

    def result(self, y):
        """Bias, activation, dtype; channels where the input has them."""
        y = self.finish(y)
        return ops.moveaxis(y, -1, 1) if self.first else y
