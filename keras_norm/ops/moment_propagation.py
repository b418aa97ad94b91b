"""Mean and variance through an activation and a kernel, in closed form."""

import math

from keras import ops

from keras_norm import errors
from keras_norm.core.layer import statistics_dtype

# Beyond so many deviations from 0 a Gaussian has one sign in float32.
_FAR = 12.0
_LEAST = 1e-30


def relu_moments(mean, variance):
    """E and Var of relu(z), z ~ N(mean, variance).

    With t = mean / deviation, and Phi, phi of the standard Gaussian:
    E = mean Phi(t) + deviation phi(t); the variance is formed without the
    difference of E[relu^2] and E^2, which cancels far from 0.
    """
    deviation = ops.sqrt(ops.maximum(variance, _LEAST))
    t = ops.clip(mean / deviation, -_FAR, _FAR)
    density = ops.exp(-0.5 * ops.square(t)) / math.sqrt(2.0 * math.pi)
    above = 0.5 * (1.0 + ops.erf(t / math.sqrt(2.0)))
    first = mean * above + deviation * density
    # Phi + t^2 Phi (1 - Phi) + t phi (1 - 2 Phi) - phi^2
    below = 1.0 - above
    share = above + ops.square(t) * above * below
    share = share + t * density * (below - above) - ops.square(density)
    return first, variance * ops.maximum(share, 0.0)


def propagate_moments(
    mean, variance, kernel, bias=None, activation="relu", groups=1
):
    """Mean and variance of each output of a kernel after an activation.

    mean' = sum_k W_k E[f(z)] + b and variance' = sum_k W_k^2 Var[f(z)], z ~
    N(mean, variance): what is predicted for the next layer by
    `KalmanNormalization`. Entries of a patch count as independent, and the
    patch as away from padded edges.

    Args:
        mean: of each input channel, (C,).
        variance: the same.
        kernel: (..., C / groups, outputs): of a dense layer or convolution.
        bias: (outputs,), or None.
        activation: f: "relu", or None for none.
        groups: of the convolution.

    Returns:
        (mean', variance'), each (outputs,), differentiable in all arguments.

    Raises:
        ValueError: an activation without a closed form here; a kernel of
            another number of channels.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> mean, variance = kn.ops.propagate_moments(
    ...     np.zeros(2), np.ones(2), np.ones((2, 1)))
    >>> print(round(float(mean[0]), 4), round(float(variance[0]), 4))
    0.7979 0.6817

    Reference:

    - Wang et al., Kalman Normalization, NeurIPS 2018,
      https://arxiv.org/abs/1802.03133
    """
    if activation not in ("relu", None):
        raise errors.unknown_name("activation", activation, ["relu", None])
    kernel = ops.convert_to_tensor(kernel)
    kernel = ops.cast(kernel, statistics_dtype(kernel))
    mean, variance = (
        ops.cast(ops.convert_to_tensor(t), kernel.dtype)
        for t in (mean, variance)
    )
    *_, width, outputs = kernel.shape
    if len(kernel.shape) < 2 or mean.shape[-1] != width * groups:
        raise errors.received(
            "`kernel` must have the shape (..., channels / groups, outputs).",
            kernel_shape=tuple(kernel.shape),
            channels=mean.shape[-1],
            groups=groups,
        )
    if activation == "relu":
        mean, variance = relu_moments(mean, variance)
    kernel = ops.reshape(kernel, (-1, width, groups, outputs // groups))

    def applied(weights, t):
        t = ops.reshape(t, (groups, width))
        t = ops.einsum("igo,gi->go", ops.sum(weights, axis=0), t)
        return ops.reshape(t, (outputs,))

    mean = applied(kernel, mean)
    if bias is not None:
        mean = mean + ops.cast(bias, mean.dtype)
    return mean, applied(ops.square(kernel), variance)
