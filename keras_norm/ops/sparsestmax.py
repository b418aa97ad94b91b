"""Softmax without tails: as sparse as a radius says.

Martins & Astudillo, 2016, https://arxiv.org/abs/1602.02068 (sparsemax)
Shao et al., 2019, https://arxiv.org/abs/1903.03793 (sparsestmax)
"""

import numbers

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.layer import one_integer
from keras_norm.core.layer import statistics_dtype

# Logits nearer to each other than this are equal but for rounding: they point
# nowhere.
EQUAL = {"float32": 1e-6, "float64": 1e-14}


def sparsestmax(logits, radius=0.0, axis=-1):
    """Probabilities p at least `radius` away from uniform, many of them 0.

    p = sparsemax(logits), the point of the simplex nearest to the logits. Let
    u be uniform where p > 0. If |p - u| < radius, p moves straight away from u
    onto the sphere of that radius; where it leaves the simplex there, the same
    again in the face that it left through, whose sphere is the section of this
    one. Radius 0 is sparsemax; from sqrt((K - 1) / K) on, with K logits, p is
    one-hot, and u where all logits are equal.

    Args:
        logits: tensor; half precision is computed in float32. Made for few
            entries along `axis`: it takes as many rounds.
        radius: a number, a scalar tensor, or a tensor of the shape of the
            logits without `axis`; not negative.
        axis: of the logits; its size must be known.

    Returns:
        Tensor of the shape and dtype of the logits (float32 for integers).

    Raises:
        ValueError: a negative radius, an axis outside the logits or of unknown
            size.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> z = np.array([0.5, 0.4, 0.0], "float32")
    >>> for radius in (0.0, 0.5, 1.0):
    ...     p = kn.ops.sparsestmax(z, radius)
    ...     print(np.round(keras.ops.convert_to_numpy(p), 2))
    [0.53 0.43 0.03]
    [0.7 0.3 0. ]
    [1. 0. 0.]

    Reference:

    - Shao et al., SSN: Learning Sparse Switchable Normalization via
      SparsestMax, CVPR 2019, https://arxiv.org/abs/1903.03793

    Note: the gradient takes which p are 0, u and the radius as given. On the
    sphere it is along the sphere; at a vertex it is 0. Where the logits that
    count are equal p stays u for any radius, with sparsemax's gradient: the
    authors' program divides by 0 there.
    """
    z = ops.convert_to_tensor(logits)
    axis = one_integer("axis", axis)
    rank = len(z.shape)
    if not -rank <= axis < rank:
        raise errors.axis_out_of_range(axis, tuple(z.shape))
    if not isinstance(z.shape[axis], int):
        raise errors.undefined_dimension(axis, tuple(z.shape))
    if isinstance(radius, numbers.Real) and not float(radius) >= 0:
        raise errors.received("`radius` must not be negative.", radius=radius)
    wide = statistics_dtype(z)
    dtype = keras.backend.standardize_dtype(z.dtype)
    dtype = dtype if "float" in dtype else wide
    z = ops.moveaxis(ops.cast(z, wide), axis, -1)
    radius = ops.stop_gradient(ops.cast(radius, wide))
    if len(radius.shape):
        radius = ops.expand_dims(radius, -1)
    p = _sparsestmax(z, ops.square(radius), EQUAL[wide] ** 2)
    return ops.cast(ops.moveaxis(p, -1, axis), dtype)


def _sparsestmax(z, square, equal):
    """Along the last axis; `square` is that of the radius, (..., 1)."""
    out = done = before = None
    # Every round ends or finds fewer entries that count, the last only one.
    for _ in range(z.shape[-1]):
        away, member = _sparsemax(z)
        uniform = member / _total(member)
        if before is not None:
            square = square - _total(ops.square(uniform - before))
        distance = _total(ops.square(away))
        # A distance of 0 has no direction, and its root no gradient.
        near = ops.logical_and(distance < square, distance > equal)
        near = ops.logical_and(near, _total(member) > 1)
        stretch = ops.sqrt(ops.where(near, square, 1.0))
        stretch = stretch * ops.rsqrt(ops.where(near, distance, 1.0))
        away = away * ops.where(near, stretch, 1.0)
        found = uniform + away
        inside = ops.min(found, axis=-1, keepdims=True) >= 0
        ended = ops.logical_or(ops.logical_not(near), inside)
        found = ops.maximum(found, 0.0)
        out = found if out is None else ops.where(done, out, found)
        done = ended if done is None else ops.logical_or(done, ended)
        # Those that count go on by their differences, which the sum with
        # `uniform` would round.
        z = ops.where(member > 0, away, -1.0 / _total(member))
        before = uniform
    return out


def _total(t):
    return ops.sum(t, axis=-1, keepdims=True)


def _sparsemax(z):
    """(sparsemax - u, 1 where it is positive), without sorting.

    Entry i counts where 1 + k z_i > sum of the k entries that are not less:
    only differences take part, so that large logits do no harm. What is
    positive lies as far from u, uniform on it, as z from its mean there: where
    logits are nearly equal the difference of the two would be rounding.
    """
    apart = ops.expand_dims(z, -1) - ops.expand_dims(z, -2)
    above = ops.sum(ops.relu(-ops.stop_gradient(apart)), axis=-1)
    member = ops.cast(above < 1.0, z.dtype)
    over = ops.sum(ops.expand_dims(member, -2) * apart, axis=-1)
    return ops.where(member > 0, over / _total(member), 0.0), member
