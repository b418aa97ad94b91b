"""A second pass over the data, for what moments do not tell.

Entries relative to a shift of their part, expectations of functions of them,
and all entries of a part side by side for order statistics.
"""

import math

from keras import ops

from keras_norm import errors
from keras_norm.core import moments
from keras_norm.core.distribution import replica_gather
from keras_norm.core.distribution import replica_sum


def extreme_of_gaussians(n):
    """1 / expected largest |x| of n standard Gaussians (Hoffer et al.)."""
    n = ops.maximum(n, 2.0)
    return (1 + math.sqrt(math.pi * math.log(4))) / (
        2 * ops.sqrt(2 * ops.log(n))
    )


def absolute(t):
    """|t| with gradient 0 at 0 on every backend (JAX's own is 1)."""
    return t * ops.stop_gradient(ops.sign(t))


def about(table, averages, shift):
    """The data relative to a compact shift of their part; 0 where masked."""
    to_table = averages.spread(shift) - averages.relative_pivot
    c = table.data - table.view(to_table)
    return c if table.mask is None else ops.where(table.mask > 0, c, 0.0)


def expectation(table, averages, t):
    """Compact mean of data-shaped t over the entries that count."""
    if table.axes:
        if table.mask is None:
            t = ops.mean(t, axis=table.axes)
        else:
            total = ops.sum(table.mask * t, axis=table.axes)
            t = total / ops.maximum(table.count, moments.TINY)
    return averages.mean(t)


def number_seen(table, averages):
    """How many entries of each part count, whatever their weight."""
    if table.mask is None:
        return averages.entries
    seen = ops.cast(table.mask > 0, averages.dtype)
    if table.axes:
        seen = ops.sum(seen, axis=table.axes)
    seen = ops.broadcast_to(seen, ops.shape(averages.count))
    seen = averages.total(seen)
    return replica_sum(seen) if averages.shared else seen


def side_by_side(table, averages, t):
    """Entries of each part in (parts, groups, entries), and which count.

    One entry that does not count is appended, so that an empty part has one.
    Synchronized replicas gather their entries, in order.
    """
    rows = averages.area.rows
    if rows not in ("all", "each"):
        raise errors.received(
            "`operation` needs all entries of a part side by side, which this "
            "area does not offer.",
            "Use rows='all' or rows='each'.",
            area=averages.area,
        )
    axis = next(i for i in range(1, len(t.shape)) if i not in table.axes)

    def flat(u):
        if rows == "all":
            u = ops.reshape(ops.moveaxis(u, axis, 0), (1, averages.groups, -1))
        else:
            # Explicit where it can be: -1 is ambiguous for an empty batch.
            sizes = [u.shape[a] for a in table.axes]
            static = all(isinstance(s, int) for s in sizes)
            entries = averages.width * math.prod(sizes) if static else -1
            shape = (averages.n, averages.groups, entries)
            u = ops.reshape(ops.moveaxis(u, axis, 1), shape)
        return ops.pad(u, ((0, 0), (0, 0), (0, 1)))

    valid = ops.ones_like(t)
    if table.mask is not None:
        seen = ops.cast(table.mask > 0, t.dtype)
        valid = ops.broadcast_to(seen, ops.shape(t))
    values, valid = flat(t), flat(valid)
    if averages.shared:
        values, valid = replica_gather(values), replica_gather(valid)
    return values, valid > 0


def sorted_entries(values, valid):
    """Ascending, with what does not count at the end, and the count."""
    count = ops.sum(ops.cast(valid, values.dtype), axis=-1, keepdims=True)
    return ops.sort(ops.where(valid, values, math.inf), axis=-1), count


def entry_at(ordered, index):
    """Entry at an (exact, float) index along the last axis."""
    places = ops.cast(ops.arange(ops.shape(ordered)[-1]), index.dtype)
    chosen = ops.equal(places, index)
    return ops.sum(ops.where(chosen, ordered, 0.0), axis=-1)


def extremes(values, valid):
    """Smallest and largest entry that counts, 0 where none does."""
    if values.shape[0] == 0:
        # No part at all: PyTorch has no maximum of nothing.
        nothing = ops.sum(values, axis=-1)
        return nothing, nothing
    some = ops.any(valid, axis=-1)
    low = ops.min(ops.where(valid, values, math.inf), axis=-1)
    high = ops.max(ops.where(valid, values, -math.inf), axis=-1)
    return ops.where(some, low, 0.0), ops.where(some, high, 0.0)
