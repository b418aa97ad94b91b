"""Cosine normalization of a convolution.

Luo et al., 2018, https://arxiv.org/abs/1702.05870
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import weight_vectors
from keras_norm.core.convolution_layer import ConvolutionLayer
from keras_norm.core.cosine import CosineLayer

# Least square of a deviation, of the squared distance from the sample's mean:
# below, rounding of the data is what is left of it.
_CONSTANT = 2.0**-24


@keras.saving.register_keras_serializable("keras_norm")
class CosineConv2D(CosineLayer, ConvolutionLayer):
    """y = activation(gamma t + bias), t = <w, patch> / (|w| |patch|).

    t is the cosine of the angle between a filter and the patch that it sees,
    from -1 to 1. With `centered` the means of both are subtracted first: t is
    then Pearson's correlation of the two. Statistics of one patch: training
    and inference are the same.

    Args:
        filters: number of output channels.
        kernel_size: one integer, or height and width.
        strides: one integer, or height and width.
        padding: "valid" or "same". The zeros around the data belong to the
            patch: they add nothing to its length, but do enter its mean.
        data_format: "channels_last", "channels_first", or None for the one
            of the Keras config. Channels-first data are transposed to
            channels-last, computed, and transposed back, on every backend.
        dilation_rate: one integer, or height and width.
        groups: groups of channels, each with filters and patches of its own.
        activation: as in `keras.layers.Conv2D`.
        use_bias: add a learned `bias`, after gamma.
        centered: subtract their means from filter and patch.
        scale: multiply by a learned `gamma`. False: the paper's t itself.
        per_neuron: a gamma for each output channel, not one for all.
        gamma_initializer: initializer of `gamma`, or a number.
        gamma_regularizer: regularizer of `gamma`.
        gamma_constraint: constraint of `gamma`.
        epsilon: least squared length of filter and patch that is divided by.
            Shorter ones give less than their cosine, zeros give 0.
        **kwargs: `kernel_...`, `bias_...`, `activity_regularizer`, `name`,
            `dtype` as in `keras.layers.Conv2D`.

    Call arguments:
        inputs: tensor (batch, height, width, channels), or channels first.
        mask: refused.

    Raises:
        ValueError: sizes below 1, groups that do not divide the channels or
            the filters, strides together with dilation, an input smaller than
            the kernel, patches of one entry with `centered`, a mask.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> layer = kn.layers.CosineConv2D(4, 3, padding="same", scale=False)
    >>> x = np.random.normal(size=(2, 6, 6, 3)).astype("float32")
    >>> bool(keras.ops.max(keras.ops.abs(layer(5 * x) - layer(x))) < 1e-5)
    True

    Reference:

    - Luo et al., Cosine Normalization: Using Cosine Similarity Instead of Dot
      Product in Neural Networks, ICANN 2018, https://arxiv.org/abs/1702.05870

    Note: the paper has neither gamma nor bias; see `CosineDense`. With
    `centered`, a patch whose deviation is below 2^-12 of the distance of its
    mean from that of the whole sample counts as constant, and t goes to 0:
    rounding would be taken for its contrast. Computed in float32 also under
    mixed precision. Weights: kernel, bias as `keras.layers.Conv2D`, whose
    saved weights load; gamma, of shape () or (filters,).
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
        centered=False,
        scale=True,
        per_neuron=False,
        gamma_initializer=10.0,
        gamma_regularizer=None,
        gamma_constraint=None,
        epsilon=1e-12,
        **kwargs,
    ):
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            data_format=data_format,
            dilation_rate=dilation_rate,
            groups=groups,
            activation=activation,
            use_bias=use_bias,
            centered=centered,
            scale=scale,
            per_neuron=per_neuron,
            gamma_initializer=gamma_initializer,
            gamma_regularizer=gamma_regularizer,
            gamma_constraint=gamma_constraint,
            epsilon=epsilon,
            **kwargs,
        )

    def call(self, inputs, mask=None):
        """The cosines, then gamma, bias and activation."""
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
        w, axes = ops.cast(self.kernel, x.dtype), (0, 1, 2)
        padding = self.padding
        if self.centered:
            w = weight_vectors.centred(w, axes)
            # What the mean of the kernel, 0, does not see; far from 0 the
            # sums would cancel.
            pivot = ops.stop_gradient(ops.mean(x, (1, 2, 3), keepdims=True))
            x, padding = self.padded(x) - pivot, "valid"
            squares = self.variation(x)
        else:
            squares = self.padded(self.by_group(ops.square(x), ops.sum))
            for i in range(2):
                squares = sum(self.along(squares, i))
        w = weight_vectors.unit(w, axes, self.epsilon)
        rate = weight_vectors.reciprocal(squares, self.epsilon, "clamp")
        if self.groups > 1:
            rate = ops.repeat(rate, self.filters // self.groups, axis=-1)
        y = self.finish(self.convolved(x, w, padding) * rate)
        return ops.moveaxis(y, -1, 1) if self.first else y

    def by_group(self, x, reduce):
        """A sum or mean over the channels of each group: (..., groups)."""
        if self.groups == 1:
            return reduce(x, axis=-1, keepdims=True)
        return reduce(self.in_groups(x), axis=-1)

    def in_groups(self, x):
        """(..., groups, channels of a group)."""
        return ops.reshape(x, (*ops.shape(x)[:-1], self.groups, -1))

    def variation(self, x):
        """Sum of squares of each patch around its mean, (..., groups).

        Of the channels at each position, then of these along one axis of the
        kernel and the other: squares of differences, nothing cancels.
        """
        mean = self.by_group(x, ops.mean)
        squares = ops.square(self.in_groups(x) - mean[..., None])
        squares = ops.sum(squares, axis=-1)
        count = x.shape[-1] // self.groups
        for i in range(2):
            means = self.along(mean, i)
            mean = sum(means) / len(means)
            between = sum(ops.square(m - mean) for m in means)
            squares = sum(self.along(squares, i)) + count * between
            count *= len(means)
        return ops.maximum(squares, _CONSTANT * count * ops.square(mean))
