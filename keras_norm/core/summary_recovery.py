"""gamma and beta from a summary of a whole sequence.

Kim, Song & Bengio, 2017, https://arxiv.org/abs/1707.06065
"""

import keras
from keras import ops

from keras_norm.core import moments
from keras_norm.core import primitives
from keras_norm.core.feature_maps import FromFeatures
from keras_norm.core.layer import channels_of
from keras_norm.core.layer import positive


def summary_of(h, kernel, bias, axis, mask=None):
    """(mean over positions of tanh(h kernel + bias), who has any): (N, S).

    Args:
        h: tensor (N, ..., D, ...) of the statistics dtype.
        kernel: (D, S).
        bias: (S,).
        axis: axis of D.
        mask: weights of the leading axes of h; the weight of a position is the
            mean of those of its features.

    Returns:
        The summaries, and (N,) weights: 0 for samples of which nothing is
        seen, None without a mask.
    """
    weights = None
    if mask is not None:
        weights = moments.aligned(mask, h)
        h = ops.where(weights > 0, h, 0.0)
        weights = ops.mean(weights, axis=axis, keepdims=True)
        weights = ops.moveaxis(weights, axis, -1)
    h = ops.moveaxis(h, axis, -1)
    t = ops.tanh(ops.matmul(h, kernel) + bias)
    axes = tuple(range(1, len(h.shape) - 1))
    if weights is None:
        if axes:
            count = primitives.at_least_one(primitives.size_of(h, axes))
            t = ops.sum(t, axis=axes) / count
        return t, None
    weights = ops.broadcast_to(weights, (*ops.shape(h)[:-1], 1))
    total = ops.sum(weights, axis=axes) if axes else weights
    t = ops.sum(weights * t, axis=axes) if axes else weights * t
    seen = ops.cast(total[:, 0] > 0, t.dtype)
    return t / ops.maximum(total, moments.TINY), seen


def variance_across(summaries, seen):
    """Mean over the units of the variance across the samples, a scalar."""
    if seen is None:
        seen = ops.ones_like(summaries[:, 0])
    seen = ops.expand_dims(seen, -1)
    count = ops.maximum(ops.sum(seen), 1.0)
    mean = ops.sum(seen * summaries, axis=0, keepdims=True) / count
    apart = seen * ops.square(summaries - mean)
    return ops.mean(ops.sum(apart, axis=0) / count)


@keras.saving.register_keras_serializable("keras_norm")
class FromSummary(FromFeatures):
    """gamma = a G + g and beta = a B + b, a the summary (N, S) of a sample.

    Args:
        units: S.
        kernel_initializer: initializer of G and B; g and b have the layer's of
            gamma and beta.
    """

    def __init__(self, units=64, kernel_initializer="zeros"):
        positive("summary_units", units)
        super().__init__(kernel_initializer)
        self.units = units

    def build(self, layer, channels, condition_shape=None) -> None:
        """The summary's weights, then G, g, B, b."""
        features = channels
        if condition_shape is not None:
            features = channels_of(layer.axis, condition_shape)
        kernel = (features, self.units), "glorot_uniform"
        self.add(layer, "summary_kernel", *kernel)
        self.add(layer, "summary_bias", (self.units,), "zeros")
        self.add_maps(layer, self.units, channels)
