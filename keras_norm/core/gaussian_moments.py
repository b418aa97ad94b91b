"""Moments of activations of Gaussian numbers, by quadrature.

The activation is evaluated once, on panels half a unit wide: where activations
have kinks (0, 0.5, 1, 3, 6) panels meet. Within a panel it is a polynomial
through its nodes, which also gives the derivative. Integrals are sums of
Gauss-Legendre quadratures between these ends and those of panels as wide as
half the deviation.
"""

from typing import Any
from typing import NamedTuple

import keras
import numpy as np

from keras_norm import errors

_NODES = 8
_WIDTH = 0.5
# Beyond so many deviations the density is below 1e-31 of its largest.
_REACH = 12.0
# Activations have all their kinks and bends within this distance of 0.
_BENDS = 12.0
# Panels beyond it, at most.
_OUTER = 200
# Pairs of mean and deviation at a time.
_CHUNK = 512


class Moments(NamedTuple):
    """E f(z), the standard deviation of f(z) and the root of E f'(z)^2."""

    mean: Any
    deviation: Any
    slope: Any


class Pieces:
    """A function as a polynomial in each of some panels."""

    def __init__(self, function, low, high):
        self.edges = edges(low, high)
        nodes, _ = np.polynomial.legendre.leggauss(_NODES)
        half = np.diff(self.edges)[:, None] / 2
        centres = self.edges[:-1, None] + half
        # What the activation is evaluated at is in float32.
        points = (centres + half * nodes).astype("float32").astype("float64")
        values = evaluated(function, points)
        alone = evaluated(function, points[:1, :2])
        if np.shape(values) != points.shape or not np.allclose(
            alone, values[:1, :2], rtol=1e-5, atol=1e-5
        ):
            raise errors.received(
                "`activation` must act on each entry alone.",
                activation=getattr(function, "__name__", function),
            )
        powers = ((points - centres) / half)[..., None] ** np.arange(_NODES)
        self.coefficients = np.linalg.solve(powers, values[..., None])[..., 0]

    def __call__(self, points):
        """(values, derivatives) at points within the panels."""
        index = np.searchsorted(self.edges, points, side="right") - 1
        index = np.clip(index, 0, len(self.edges) - 2)
        half = (self.edges[index + 1] - self.edges[index]) / 2
        s = (points - self.edges[index]) / half - 1
        values, slopes = np.zeros_like(s), np.zeros_like(s)
        for power in reversed(range(_NODES)):
            slopes = slopes * s + values
            values = values * s + self.coefficients[index, power]
        return values, slopes / half


def edges(low, high):
    """Ends of panels from `low` to `high` and a little further."""
    # Wide enough that float32 tells their nodes apart.
    far = max(abs(low), abs(high))
    outer = max(_WIDTH, (high - low) / _OUTER, 1e-4 * far)
    found = [grid(low, min(high, -_BENDS), outer)]
    found.append(grid(max(low, -_BENDS), min(high, _BENDS), _WIDTH))
    found.append(grid(max(low, _BENDS), high, outer))
    return np.unique(np.concatenate(found))


def grid(low, high, width):
    """Ends of panels, at whole steps from where the bends end."""
    if low > high:
        return np.zeros(0)
    start = -_BENDS if low < _BENDS else _BENDS
    first = np.floor((low - start) / width)
    last = max(np.ceil((high - start) / width), first + 1)
    return start + width * np.arange(first, last + 1)


def of(activation, mean=0.0, deviation=1.0) -> Moments:
    """Moments of an activation of z ~ N(mean, deviation^2).

    Args:
        activation: an elementwise activation, or its name in Keras.
        mean: mean of z, a number or an array.
        deviation: standard deviation of z, at least 0.

    Returns:
        Three numbers, or arrays of the common shape of mean and deviation.

    Raises:
        ValueError: an activation that mixes entries.
    """
    function = keras.activations.get(activation)
    mean, deviation = np.broadcast_arrays(
        np.asarray(mean, "float64"), np.asarray(deviation, "float64")
    )
    if not np.all(deviation >= 0):
        raise errors.received(
            "`deviation` must not be negative.", deviation=deviation
        )
    pairs = np.stack([mean.ravel(), deviation.ravel()], axis=1)
    pairs, where = np.unique(pairs, axis=0, return_inverse=True)
    reach = _REACH * pairs[:, 1]
    pieces = Pieces(
        function,
        np.min(pairs[:, 0] - reach, initial=0.0),
        np.max(pairs[:, 0] + reach, initial=0.0),
    )
    chunks = [
        integrals(pieces, *pairs[i : i + _CHUNK].T)
        for i in range(0, len(pairs), _CHUNK)
    ]
    found = np.concatenate(chunks, axis=1)[:, where.ravel()]
    if mean.ndim == 0:
        return Moments(*(float(row[0]) for row in found))
    return Moments(*(row.reshape(mean.shape) for row in found))


def integrals(pieces, mean, deviation):
    """(3, n): the moments for n means and deviations."""
    mean, deviation = mean[:, None], deviation[:, None]
    low, high = mean - _REACH * deviation, mean + _REACH * deviation
    steps = np.arange(-_REACH, _REACH + _WIDTH, _WIDTH)
    ends = np.sort(
        np.concatenate(
            [np.clip(pieces.edges[None], low, high), mean + steps * deviation],
            axis=1,
        ),
        axis=1,
    )
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    widths = np.diff(ends, axis=1)[..., None]
    points = ends[:, :-1, None] + widths * (nodes + 1) / 2
    # A deviation of 0 leaves panels of width 0: the value at the mean.
    spread = np.where(deviation > 0, deviation, 1.0)[..., None]
    scaled = (points - mean[..., None]) / spread
    density = np.exp(-(scaled**2) / 2) / (np.sqrt(2 * np.pi) * spread)
    weights = weights * widths / 2 * density
    values, slopes = pieces(points)
    first = np.sum(weights * values, axis=(1, 2))
    second = weights * (values - first[:, None, None]) ** 2
    slope = np.sum(weights * slopes**2, axis=(1, 2))
    found = np.stack([first, np.sqrt(np.sum(second, axis=(1, 2))), slope**0.5])
    at_mean, slope_there = pieces(mean[:, 0])
    fixed = np.stack([at_mean, 0.0 * at_mean, np.abs(slope_there)])
    return np.where(deviation[:, 0] > 0, found, fixed)


def evaluated(function, points):
    """An activation of Keras at NumPy points, in float64."""
    values = function(keras.ops.convert_to_tensor(points, "float32"))
    return np.asarray(keras.ops.convert_to_numpy(values), "float64")
