"""Adaptive gradient clipping.

Brock, De, Smith and Simonyan, High-Performance Large-Scale Image Recognition
Without Normalization, ICML 2021.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.gradient_transforms import Transform
from keras_norm.core.gradient_transforms import needed
from keras_norm.core.layer import finite
from keras_norm.core.unit_norms import norm

# The published programs': least norm of a gradient to divide by.
_LEAST = 1e-6


@keras.saving.register_keras_serializable("keras_norm")
class AdaptiveClip(Transform):
    """The rule of `adaptive_clip`."""

    vectors = "always"

    def __init__(self, clipping=0.01, epsilon=1e-3, where=None):
        super().__init__(where)
        for name, value in (("clipping", clipping), ("epsilon", epsilon)):
            if not finite(name, value) > 0:
                raise errors.received(
                    f"`{name}` must be positive.", **{name: value}
                )
        self.clipping, self.epsilon = float(clipping), float(epsilon)

    def transformed(self, gradient, variable, kernel):
        needed(variable, "gradients are clipped relative to its norm")
        # Of a vector, all axes.
        axes = kernel.reduced
        limit = self.clipping * ops.maximum(norm(variable, axes), self.epsilon)
        size = norm(gradient, axes)
        factor = limit / ops.maximum(size, _LEAST)
        return gradient * ops.where(size > limit, factor, ops.ones_like(factor))


def adaptive_clip(clipping=0.01, epsilon=1e-3, where=None):
    """Adaptive clipping: |g| is at most `clipping` max(|w|, epsilon), by unit.

    w are the weights of one output neuron, g is their gradient:

        g <- g limit / |g|,  limit = clipping max(|w|, epsilon),
        where |g| > limit

    A vector (bias, gamma, beta) is one unit, as published: its gradient is
    clipped by the norm of the whole.

    Args:
        clipping: largest norm relative to that of the weights, 0.01 to 0.16
            as published; smaller for larger batches.
        epsilon: least norm of the weights to go by, so that what starts at 0
            can move.
        where: which variables: a name or a list of names, each of a layer or
            a variable or any consecutive part of a variable's path; built
            layers or models, or a list of them; a function of a variable;
            None: as `GradientTransform` says, all by default. The authors
            leave the last layer out; a function does that.

    Returns:
        A transform for `keras_norm.optimizers.GradientTransform`. It is also
        a function (gradient, variable, axis=None) of tensors, `axis` being
        that of the output neurons (None: the last).

    Raises:
        ValueError: values that are not positive; `where` is none of these.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> w = keras.ops.array([[3.0, 3.0], [4.0, 4.0]])
    >>> g = keras.ops.array([[0.6, 0.03], [0.8, 0.04]])
    >>> clipped = kn.optimizers.adaptive_clip(0.1)(g, w)
    >>> print(keras.ops.convert_to_numpy(clipped).round(3))
    [[0.3  0.03]
     [0.4  0.04]]

    Reference:

    - Brock et al., High-Performance Large-Scale Image Recognition Without
      Normalization, ICML 2021, https://arxiv.org/abs/2102.06171

    Note:
        Some ports take the norms of dense kernels by input, which is not what
        the paper says; the program of its authors takes them by output.
    """
    return AdaptiveClip(clipping, epsilon, where)
