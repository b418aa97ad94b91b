"""Online normalization: statistics and gradients, one sample after another.

All happens on (N, C) tables; the data are read by the primitives alone.
"""

import keras
from keras import ops

from keras_norm.core import backward_state
from keras_norm.core.primitives import cached
from keras_norm.core.recurrences import states
from keras_norm.core.statistics import MovingAverage


@keras.saving.register_keras_serializable("keras_norm")
class ActingAverage(MovingAverage):
    """Moving statistics that training normalizes by, or that start anew."""

    def initial_share(self, layer, updates) -> float:
        """None that training has not had to live with."""
        return 0.0


def before_samples(mean, variance, start, alpha):
    """(mean, variance) before every sample, and both after the last.

    Args:
        mean: of every sample, relative to the mean of the state, (N, C).
        variance: of every sample.
        start: the variance of the state, (1, C); its mean is 0 here.
        alpha: fraction kept by each sample.
    """
    rest = 1.0 - alpha
    zero = ops.zeros_like(start)
    means, last_mean = states(alpha, rest * mean, zero)
    moved = rest * variance + alpha * rest * ops.square(mean - means)
    variances, last = states(alpha, moved, start)
    return means, variances, last_mean, last


@cached
def _controlled(alpha):
    rest = 1.0 - alpha

    @ops.custom_gradient
    def controlled(
        mean, variance, factors, size, mean_control, output_control, witness
    ):
        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            u, c = (
                ops.expand_dims(backward_state.held(state, witness), 0)
                for state in (mean_control, output_control)
            )
            scale, offset = factors[0], factors[1]
            # Means over the positions of a sample: of z and its square, of
            # the gradient e that arrives at z, of e z.
            z = scale * mean + offset
            square = ops.square(scale) * variance + ops.square(z)
            e = upstream[1] / size
            product = (scale * upstream[0] + offset * upstream[1]) / size
            c, last_c = states(1.0 - rest * square, product, c)
            u, last_u = states(alpha, scale * (e - rest * c * z), u)
            # dx = scale * e, which comes by itself, less
            # rest * (c * scale * z + u), linear in x: what these two send.
            return (
                -rest * size * (c * scale * z + u),
                -0.5 * rest * size * c * ops.square(scale),
                ops.zeros_like(factors),
                ops.zeros_like(size),
                ops.reshape(last_u, (-1,)),
                ops.reshape(last_c, (-1,)),
                backward_state.witnessed(witness),
            )

        # New: JAX would otherwise return its argument.
        return factors * 1.0, grad

    return controlled


def controlled(mean, variance, scale, offset, size, state, alpha):
    """(scale, offset) as they are, with the gradient that is controlled.

    Per sample i and channel, e the gradient at z = scale * d + offset:
    g = e - (1 - alpha) c z, c <- c + mean(g z); g <- g * scale,
    dx = g - (1 - alpha) u, u <- u + mean(dx).

    Args:
        mean: of the data d of every sample, (N, C).
        variance: likewise.
        scale: constants to the gradient.
        offset: likewise.
        size: positions of a sample, a scalar tensor.
        state: u, c (C,) and the witness.
        alpha: fraction kept by each sample.
    """
    factors = ops.stop_gradient(ops.stack([scale, offset]))
    both = _controlled(alpha)(mean, variance, factors, size, *state)
    return both[0], both[1]
