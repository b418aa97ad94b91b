"""The map of mean and variance of self-normalizing networks.

Klambauer et al., 2017, https://arxiv.org/abs/1706.02515
"""

import math
from typing import Any
from typing import NamedTuple

import numpy as np

from keras_norm import errors

ALPHA = 1.6732632423543772
SCALE = 1.0507009873554805


class MappedMoments(NamedTuple):
    """Mean and variance of a unit."""

    mean: Any
    variance: Any


def self_normalizing_map(
    mean, variance, omega=0.0, tau=1.0, alpha=ALPHA, scale=SCALE
) -> MappedMoments:
    """Mean and variance after a layer with SELU, from those before it.

    A neuron's sum is taken for Gaussian, u ~ N(mean omega, variance tau). In
    closed form, with selu(u) = scale u for u > 0, scale alpha (e^u - 1) else.

    Args:
        mean: mean of the layer's inputs, a number or an array.
        variance: their variance, at least 0.
        omega: sum of a neuron's weights.
        tau: sum of their squares.
        alpha: of the activation.
        scale: of the activation.

    Returns:
        (mean, variance), float64, of the common shape of the arguments. With
        omega 0 and tau 1, as centred weight normalization keeps them, (0, 1)
        is a fixed point, and attracts what is near it.

    Raises:
        ValueError: a negative variance or tau.

    Example:

    >>> import keras_norm as kn
    >>> mean, variance = 0.5, 2.0
    >>> for _ in range(40):
    ...     mean, variance = kn.analysis.self_normalizing_map(mean, variance)
    >>> print(f"{abs(mean):.3f} {variance:.3f}")
    0.000 1.000

    Reference:

    - Klambauer et al., Self-Normalizing Neural Networks, NeurIPS 2017,
      https://arxiv.org/abs/1706.02515
    """
    if not (np.all(np.asarray(variance) >= 0) and np.all(np.asarray(tau) >= 0)):
        raise errors.received(
            "`variance` and `tau` must not be negative.",
            variance=variance,
            tau=tau,
        )
    m = np.asarray(mean, "float64") * np.asarray(omega, "float64")
    v = np.asarray(variance, "float64") * np.asarray(tau, "float64")
    m, v = np.broadcast_arrays(m, v)
    fixed = v == 0
    s = np.sqrt(np.where(fixed, 1.0, v))
    z = m / (math.sqrt(2) * s)
    density = s / math.sqrt(2 * np.pi) * np.exp(-(z**2))
    above = erfc(-z) / 2
    once, twice = exponential(m, s, 1), exponential(m, s, 2)
    first = m * above + density + alpha * (once - (1 - above))
    second = (m**2 + s**2) * above + m * density
    second = second + alpha**2 * (twice - 2 * once + (1 - above))
    # Without variance the unit itself.
    unit = np.where(m > 0, m, alpha * np.expm1(np.minimum(m, 0.0)))
    mean = scale * np.where(fixed, unit, first)
    variance = scale**2 * np.where(fixed, 0.0, second - first**2)
    return MappedMoments(mean[()], variance[()])


erfc = np.vectorize(math.erfc, otypes=["float64"])


def exponential(m, s, k):
    """E e^(k u) of u < 0, u ~ N(m, s^2)."""
    z = (m + k * s**2) / (math.sqrt(2) * s)
    far = z > 5
    near = np.where(far, 0.0, z)
    # e^(z^2) is finite here: its exponent is not above 25.
    exponent = np.where(far, 0.0, k * m + (k * s) ** 2 / 2)
    direct = np.exp(np.minimum(exponent, 50.0)) * erfc(near)
    # A continued fraction of e^(z^2) erfc(z) where either would overflow.
    z = np.where(far, z, 6.0)
    tail = z
    for n in range(60, 0, -1):
        tail = z + (n / 2) / tail
    scaled = np.exp(-((m / s) ** 2) / 2) / (math.sqrt(np.pi) * tail)
    return np.where(far, scaled, direct) / 2
