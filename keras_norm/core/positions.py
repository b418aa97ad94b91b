"""The position area: statistics at each position, over the channels.

Layer normalization over the last axes, RMS, pixel and positional normalization.
It shares nothing with the (N, C) table but its decisions: float32, a pivot, an
analytic backward.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core import moments
from keras_norm.core import operations
from keras_norm.core import primitives
from keras_norm.core import recoveries
from keras_norm.core.custom_gradients import custom_gradient
from keras_norm.core.primitives import broadcast_axes
from keras_norm.core.primitives import summed


@primitives.cached
def _standardize(axes, epsilon, centred):
    """(d, gamma, beta) -> y, one read of d forward and one backward."""

    def mean(t):
        return ops.mean(t, axis=axes, keepdims=True)

    @custom_gradient
    def standardize(d, gamma, beta):
        variance = mean(ops.square(d))
        if centred:
            m = mean(d)
            variance = ops.maximum(variance - ops.square(m), 0.0)
            c = d - m
        else:
            c = d
        r = ops.rsqrt(variance + epsilon)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            g = upstream * gamma
            k = mean(g * c) * ops.square(r)
            inner = g - c * k
            if centred:
                inner = inner - mean(g)
            return (
                r * inner,
                summed(upstream * (c * r), broadcast_axes(gamma, d)),
                summed(upstream, broadcast_axes(beta, d)),
            )

        return c * (r * gamma) + beta, grad

    return standardize


def standardized(x, gamma, beta, axes, epsilon, centred):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, beta maybe None."""
    d = x - moments.pivot_of(x, axes, keepdims=True) if centred else x
    if beta is None:
        beta = ops.zeros((1,) * len(x.shape), x.dtype)
    return _standardize(axes, epsilon, centred)(d, gamma, beta)


def native(layer, x, axes, mask):
    """Layer normalization by PyTorch's own kernel where it is exact, or None.

    Keras' wrapper is right for trailing axes only, with gamma and beta of
    their shape. The kernel sums deviations from a running mean: exact once the
    data are relative to any one of their entries, since none is further than
    sqrt(size) deviations from the mean. (E[d^2] - E[d]^2 loses the square of
    that and takes the median of three.)
    """
    rank = len(x.shape)
    if (
        keras.backend.backend() != "torch"
        or mask is not None
        or axes != tuple(range(rank - len(axes), rank))
        or not isinstance(layer.recovery, AxesAffine)
        or sorted(a % rank for a in layer.recovery.axes) != list(axes)
        or type(layer.operation) is not operations.Standardize
        or layer.operation.unbiased
    ):
        return None
    first = x[(Ellipsis, *(slice(0, 1) for _ in axes))]
    d = x - ops.stop_gradient(first)
    gamma, beta = (
        None if w is None else ops.cast(w, x.dtype)
        for w in (layer.gamma, layer.beta)
    )
    axis = list(axes) if len(axes) > 1 else axes[0]
    return ops.layer_normalization(d, gamma, beta, axis, layer.epsilon)


def measure(x, axes, mask=None, centred=True):
    """(d, mean, variance, entries, pivot) over `axes`, dimensions kept.

    mean is relative to the pivot, d = x - pivot. Masked entries take no part.
    """

    def mean_of(t):
        return ops.mean(t, axis=axes, keepdims=True)

    w = None
    if mask is not None:
        w = moments.aligned(mask, x)
        x = moments.without_padding(x, w)
        if all(w.shape[a] == 1 for a in axes):
            # Whole positions are masked: the others do not see them.
            w = None
    entries = primitives.size_of(x, axes)
    if w is not None:
        w = ops.broadcast_to(w, ops.shape(x))
        entries = ops.sum(w, axis=axes, keepdims=True)
        total = ops.maximum(entries, moments.TINY)

        def mean_of(t):
            return (
                ops.sum(ops.where(w > 0, w * t, 0.0), axes, keepdims=True)
                / total
            )

    if not centred:
        zero = ops.zeros((1,) * len(x.shape), x.dtype)
        return x, zero, mean_of(ops.square(x)), entries, zero
    if w is None:
        pivot = moments.pivot_of(x, axes, keepdims=True)
    else:
        pivot = moments.settled(mean_of(x))
    d = x - pivot
    mean = mean_of(d)
    variance = mean_of(ops.square(d - mean))
    return d, mean, variance, entries, pivot


def normalize(x, axes, operation, epsilon, mask, gamma, beta):
    """The elementwise operations over `axes` of each position."""
    unbiased = getattr(operation, "unbiased", False)
    outside = getattr(operation, "epsilon_outside", False)
    plain = not (unbiased or outside)
    if mask is not None:
        w = moments.aligned(mask, x)
        if all(w.shape[a] == 1 for a in axes):
            x, mask = moments.without_padding(x, w), None
    plain = plain and mask is None
    if plain and isinstance(operation, operations.Standardize):
        return standardized(x, gamma, beta, axes, epsilon, True)
    if plain and isinstance(operation, operations.Scale):
        return standardized(x, gamma, beta, axes, epsilon, False)
    d, mean, variance, entries, pivot = measure(
        x, axes, mask, operation.centred
    )
    if unbiased:
        variance = moments.bessel(variance, entries)
    rate = operation.rate(variance, epsilon)
    y = d - mean if operation.names[0] else d + pivot
    y = (y if rate is None else y * rate) * gamma
    return y if beta is None else y + beta


class AxesAffine(recoveries.Nothing):
    """gamma and beta over any axes, as layer and RMS normalization have them.

    Args:
        axes: axes of the input that the parameters have.
        gamma: attribute of the layer that holds gamma.
    """

    def __init__(self, axes, gamma="gamma"):
        self.axes, self.gamma = axes, gamma

    def shape(self, inputs_shape):
        """Shape of gamma and beta."""
        rank = len(inputs_shape)
        return tuple(
            inputs_shape[a] for a in sorted(a % rank for a in self.axes)
        )

    def factors(self, layer, x):
        """gamma and beta (None if absent), broadcasting against x."""
        rank = len(x.shape)
        axes = [a % rank for a in self.axes]
        shape = [x.shape[i] if i in axes else 1 for i in range(rank)]

        def factor(weight):
            return ops.reshape(ops.cast(weight, x.dtype), shape)

        gamma = getattr(layer, self.gamma)
        gamma = ops.ones(shape, x.dtype) if gamma is None else factor(gamma)
        return gamma, None if layer.beta is None else factor(layer.beta)


def factors_of(layer, x, axis, condition):
    """Gamma and beta of the layer's recovery, broadcasting against x."""
    if isinstance(layer.recovery, AxesAffine):
        return layer.recovery.factors(layer, x)
    view = moments.viewer(len(x.shape), axis)
    one = ops.ones((1, x.shape[axis]), x.dtype)
    folded = layer.recovery.fold(layer, one, 0.0 * one, condition)
    return [view(f) for f in folded]


@keras.saving.register_keras_serializable("keras_norm")
class Position(configuration.Part):
    """Each position of each sample alone, over its channels.

    Args:
        axes: axes of the statistics; None is the layer's channel axis.
    """

    family = "position"
    mixes_samples = False

    def __init__(self, axes=None):
        self.axes = axes

    def check(self, channels) -> None:
        """Any number of channels will do."""

    def statistic_shape(self, channels):
        """There is none: positions keep no state."""
        raise errors.no_state(self)

    def normalize(self, layer, x, training, mask, condition):
        """One pass at each position, recovery folded into it."""
        rank = len(x.shape)
        axes = (layer.axis,) if self.axes is None else self.axes
        axes = tuple(sorted(a % rank for a in axes))
        y = native(layer, x, axes, mask)
        if y is not None:
            return y
        gamma, beta = factors_of(layer, x, axes[-1], condition)
        return normalize(
            x, axes, layer.operation, layer.epsilon, mask, gamma, beta
        )
