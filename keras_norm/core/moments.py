"""The moment table: per sample and channel, in one pass over the data.

Every statistic that mixes whole instances (batch, layer, group, instance ...)
is an average of this small (N, C) table. Three decisions keep it exact and
cheap:

* Means are relative. One float32 ulp at 1e4 is 1e-3, so an absolute mean would
  cost 5e-4 of the output. The data are taken relative to a `pivot` (one value
  of each instance) and stay so.
* The pivot is the median of three interior entries. The error of E[d^2]-E[d]^2
  is of the order of ulp * (pivot - mean)^2 / variance: one entry would fail on
  zero borders and outliers, three do not.
* What touches the data has an analytic gradient; see `primitives`.
"""

from collections import namedtuple

from keras import ops

from keras_norm.core.primitives import at_least_one
from keras_norm.core.primitives import raw_moments
from keras_norm.core.primitives import size_of

# data: x - pivot. mean: relative to the pivot. count: entries (or weight) per
# instance, None if nothing is masked. positions: entries of an instance.
Table = namedtuple(
    "Table", "data pivot count mean variance view axes mask positions centred"
)

TINY = 1e-12


def viewer(rank: int, axis: int):
    """A function from an (N, C) table to what broadcasts against the data."""
    axis = axis % rank

    def view(table):
        if len(table.shape) == rank:
            return table
        shape = [1] * rank
        shape[axis] = table.shape[-1]
        if len(table.shape) == 2:
            shape[0] = -1 if table.shape[0] != 1 else 1
        return ops.reshape(table, shape)

    return view


def settled(t, rest=None):
    """A computed pivot or base as one number, whoever uses it.

    Compilers compute it anew in every program that uses it, and contract
    `sum * r - x` or `first + sum * r` to one rounding in some of them: the same
    pivot would differ by an ulp from one use to the next, at 1e4 5e-4 of the
    output. They do not see through a selection.

    Args:
        t: the number; products are settled, sums of products are not.
        rest: what is to be added to it.
    """
    if rest is not None:
        t = t + settled(rest)
    t = ops.stop_gradient(t)
    return ops.where(ops.isfinite(t), t, 0.0)


def pivot_of(x, axes, keepdims=False):
    """Median of three interior entries along `axes`, without gradient."""

    def entry(quarter):
        index = [slice(None)] * len(x.shape)
        for a in axes:
            i = ops.shape(x)[a] * quarter // 4
            index[a] = slice(i, i + 1)
        one = x[tuple(index)]
        if some:
            return one if keepdims else ops.squeeze(one, axes)
        # A sum, so that no entry at all gives 0.
        return ops.sum(one, axis=axes, keepdims=keepdims)

    some = all(isinstance(x.shape[a], int) and x.shape[a] for a in axes)
    x = ops.stop_gradient(x)
    a, b, c = entry(1), entry(2), entry(3)
    return ops.maximum(ops.minimum(a, b), ops.minimum(ops.maximum(a, b), c))


def aligned(mask, x):
    """A mask as weights of x's rank, aligned to the leading axes."""
    w = ops.cast(ops.convert_to_tensor(mask), x.dtype)
    if len(w.shape) > len(x.shape):
        raise ValueError(
            "`mask` must have at most the rank of the input, aligned to its "
            f"leading axes. Received: mask.shape={tuple(w.shape)}, "
            f"inputs.shape={tuple(x.shape)}."
        )
    for i, (m, n) in enumerate(zip(w.shape, x.shape, strict=False)):
        if isinstance(m, int) and isinstance(n, int) and m not in (1, n):
            raise ValueError(
                f"`mask` must match the leading axes of the input; axis {i} "
                f"differs. Received: mask.shape={tuple(w.shape)}, "
                f"inputs.shape={tuple(x.shape)}."
            )
    while len(w.shape) < len(x.shape):
        w = ops.expand_dims(w, -1)
    return w


def without_padding(x, w):
    """`x` with 0 for what is masked and not finite (padding may be NaN)."""
    return ops.where(ops.logical_or(w > 0, ops.isfinite(x)), x, 0.0)


def measure(x, axis=-1, mask=None, centred=True, common=False) -> Table:
    """Count, mean and variance of every instance.

    Args:
        x: tensor of the statistics dtype, rank at least 2.
        axis: channel axis.
        mask: weights of the leading axes, or None.
        centred: False measures about zero: mean 0, variance E[x^2].
        common: one pivot for all instances, and no variances: for those who
            form products of the data themselves.
    """
    rank = len(x.shape)
    axis = axis % rank
    axes = tuple(i for i in range(1, rank) if i != axis)
    view = viewer(rank, axis)
    if mask is not None:
        return _measure_masked(
            x, axis, axes, view, aligned(mask, x), centred, common
        )
    positions = size_of(x, axes)
    none = ops.zeros((1, 1), x.dtype)
    if common:
        pivot = _common_pivot(x, axes)
        d, variance = x - view(pivot), None
        mean = ops.sum(d, axis=axes) / at_least_one(positions) if axes else d
    elif not axes:
        # One position: its own mean. The pivot is the first sample; a sum, so
        # that an empty batch has pivot 0.
        pivot = none
        if centred:
            first = ops.sum(x[:1], axis=0, keepdims=True)
            pivot = ops.stop_gradient(first)
            d = x - pivot
            mean, variance = d, ops.zeros_like(d)
        else:
            d, mean, variance = x, ops.zeros_like(x), ops.square(x)
    elif centred:
        pivot = pivot_of(x, axes)
        d = x - view(pivot)
        raw = raw_moments(d, axes)
        mean = raw[0]
        variance = ops.maximum(raw[1] - ops.square(mean), 0.0)
    else:
        pivot, d = none, x
        variance = raw_moments(d, axes)[1]
        mean = ops.zeros_like(variance)
    return Table(
        d, pivot, None, mean, variance, view, axes, None, positions, centred
    )


def _common_pivot(x, axes):
    """A value near the mean of each channel, (1, C), without gradient."""
    pivots = pivot_of(x, axes) if axes else x
    n = ops.cast(at_least_one(ops.shape(x)[0]), x.dtype)
    # About the first, so that equal data have themselves as pivot. A sum, so
    # that no sample at all gives 0.
    first = ops.sum(pivots[:1], axis=0, keepdims=True)
    total = ops.sum(pivots - first, axis=0, keepdims=True)
    return settled(first, total / n)


def _measure_masked(x, axis, axes, view, w, centred, common) -> Table:
    """The same with weights: two passes, since any entry may be padding."""
    shape = list(ops.shape(x))
    if w.shape[axis] == 1:
        shape[axis] = 1
    w = ops.broadcast_to(w, shape)
    x = without_padding(x, w)
    count = ops.sum(w, axis=axes) if axes else w

    def average(t):
        if not axes:
            return t
        return ops.sum(w * t, axis=axes) / ops.maximum(count, TINY)

    pivot = ops.zeros((1, 1), x.dtype)
    if centred:
        pivot = average(x)
        if common or not axes:
            weights = count if axes else w
            total = ops.sum(weights, axis=0, keepdims=True)
            pivot = ops.sum(weights * pivot, axis=0, keepdims=True)
            pivot = pivot / ops.maximum(total, TINY)
        pivot = settled(pivot)
    d = x - view(pivot)
    seen = ops.where(w > 0, d, 0.0)
    if common:
        mean, variance = average(seen), None
    elif centred:
        mean = average(seen)
        variance = (
            average(ops.square(seen - view(mean)))
            if axes
            else ops.zeros_like(mean)
        )
    else:
        variance = average(ops.square(seen))
        mean = ops.zeros_like(variance)
    positions = size_of(x, axes)
    return Table(
        d, pivot, count, mean, variance, view, axes, w, positions, centred
    )


def bessel(variance, entries):
    """A biased variance of `entries` entries made unbiased; one stays as is."""
    n = ops.cast(entries, variance.dtype)
    return variance * (n / ops.maximum(n - 1.0, 1.0))
