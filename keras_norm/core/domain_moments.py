"""Moments of every domain in a batch, out of the (N, C) table.

Domains may lie far from each other, further than float32 has digits for: each
is measured from a value near its own mean, and only differences to that value
are ever formed. A sample knows which of them are its own by its weights.
"""

from collections import namedtuple

from keras import ops

from keras_norm.core import domains
from keras_norm.core.area_mixture import Moments
from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_index
from keras_norm.core.distribution import replica_sum
from keras_norm.core.moments import TINY
from keras_norm.core.moments import settled
from keras_norm.core.moments import without_padding


class Rows(namedtuple("Rows", "near mean variance weight entries")):
    """Statistics of the domains, (domains, C) each.

    Attributes:
        near: a value of the data near the mean, without gradient.
        mean: relative to it.
        variance: biased, unless the one who measured says otherwise.
        weight: what was seen of a domain, 0 where it is absent, (domains, 1
            or C); None: all that there is to see.
        entries: number of entries behind it, or their weight.
    """

    @property
    def present(self):
        """1 for a domain (and channel) that was seen, 0 for others."""
        if self.weight is None:
            return ops.ones_like(self.mean)
        return ops.cast(self.weight > 0, self.mean.dtype) + 0.0 * self.mean

    # What moving averages ask of an area's averages.

    @property
    def base(self):
        """What the means are relative to."""
        return self.near

    @property
    def dtype(self):
        """Of the statistics."""
        return self.mean.dtype

    @property
    def seen(self):
        """Which rows of the state follow."""
        return self.weight > 0

    def merged(self, rows):
        """Every domain keeps its own row."""
        return rows


def kept(mean, variance) -> Rows:
    """Statistics as the state has them, (domains, C)."""
    near = settled(mean)
    return Rows(near, ops.zeros_like(near), variance, None, None)


def measured(table, chosen, synchronized=False) -> Rows:
    """The moments of every domain in a batch.

    Args:
        table: the moments of the instances.
        chosen: the domains of the samples; see `domains.chosen`.
        synchronized: add up over replicas, in one collective.
    """
    shared = synchronized and replica_count() > 1
    # One part, whose statistics every domain of the samples has. Replicas may
    # hold batches of different domains.
    alike = chosen.alike and not shared
    dtype, n = table.mean.dtype, ops.shape(table.mean)[0]
    weights = ops.ones((n, 1), dtype)
    if not alike:
        weights = weights * chosen.weights
    count = counted(table)
    weight = totals(weights, count)
    safe = ops.maximum(weight, TINY)
    near = near_means(table, weights, count, safe)
    single = alike or chosen.labels
    measure = _of_labels if single else _of_weights
    mean, variance = measure(table, weights, count, near, safe)
    rows = near, mean, variance, weight
    if shared:
        rows = _of_replicas(*rows)
    if alike:
        rows = _repeated(chosen.weights, rows)
    entries = rows[3]
    if table.count is None:
        entries = entries * table.positions
    return Rows(*rows, entries)


def counted(table):
    """Entries of the instances: (N, 1 or C)."""
    if table.count is not None:
        return table.count
    # Instances without entries weigh nothing.
    some = ops.cast(ops.greater(table.positions, 0), table.mean.dtype)
    return some * ops.ones((ops.shape(table.mean)[0], 1), table.mean.dtype)


def near_means(table, weights, count, weight):
    """A value near the mean of every domain, (domains, C)."""
    absolute = ops.stop_gradient(table.pivot + table.mean)
    return settled(totals(weights, count * absolute) / weight)


def of_vectors(table, x, chosen):
    """The table of data (N, C), each sample relative to its own domain.

    One pivot for all of them would be far from some domains.
    """
    if not chosen.labels or chosen.alike:
        return table
    count = counted(table)
    weight = ops.maximum(totals(chosen.weights, count), TINY)
    near = near_means(table, chosen.weights, count, weight)
    own = domains.mixed(chosen.weights, near)
    if table.mask is None:
        data = mean = x - own
    else:
        data = without_padding(x, table.mask) - own
        mean = ops.where(table.mask > 0, data, 0.0)
    return table._replace(data=data, pivot=own, mean=mean)


def totals(weights, t):
    """Sums over the samples of each domain: (N, C) -> (domains, C)."""
    # No matrix product: units of accelerators round its factors.
    return ops.stack(
        [
            ops.sum(weights[:, d : d + 1] * t, axis=0)
            for d in range(weights.shape[1])
        ]
    )


def _of_labels(table, weights, count, near, weight):
    """A sample has one domain: what deviates is no larger than the table."""
    apart = table.pivot - domains.mixed(weights, near) + table.mean
    mean = totals(weights, count * apart) / weight
    apart = apart - domains.mixed(weights, mean)
    square = table.variance + ops.square(apart)
    return mean, totals(weights, count * square) / weight


def _of_weights(table, weights, count, near, weight):
    """A sample deviates from every domain."""
    means, variances = [], []
    for d in range(weights.shape[1]):
        share = weights[:, d : d + 1] * count
        apart = table.pivot - near[d : d + 1] + table.mean
        mean = ops.sum(share * apart, axis=0) / weight[d]
        square = table.variance + ops.square(apart - mean)
        means.append(mean)
        variances.append(ops.sum(share * square, axis=0) / weight[d])
    return ops.stack(means), ops.stack(variances)


def _of_replicas(near, mean, variance, weight):
    """The moments of all replicas as one: each has a place in one sum."""
    values = ops.stack([near, mean, variance, weight + ops.zeros_like(near)])
    places = ops.arange(replica_count(), dtype="int32")
    mine = ops.cast(ops.equal(places, replica_index()), mean.dtype)
    mine = ops.reshape(mine, (-1, 1, 1, 1))
    near, mean, variance, weight = ops.unstack(
        replica_sum(mine * ops.expand_dims(values, 0)), 4, axis=1
    )
    total = ops.sum(weight, axis=0)
    safe = ops.maximum(total, TINY)
    common = settled(ops.sum(weight * near, axis=0) / safe)
    apart = near - common + mean
    mean = ops.sum(weight * apart, axis=0) / safe
    square = variance + ops.square(apart - mean)
    return common, mean, ops.sum(weight * square, axis=0) / safe, total


def _repeated(weights, rows):
    """One row for every domain of weights (1, domains), 0 for others."""
    member = ops.transpose(ops.cast(weights > 0, rows[0].dtype))
    return [member * row for row in rows]


def centre(rows, chosen):
    """The mixture of `rows.near`, (1 or N, C), as one number."""
    weights = chosen.weights
    if chosen.labels:
        return settled(domains.mixed(weights, rows.near))
    # Products are settled, sums of products are not.
    return sum(
        settled(weights[:, d : d + 1] * rows.near[d : d + 1])
        for d in range(weights.shape[1])
    )


def of_samples(rows, chosen, pivot=None) -> Moments:
    """The moments of each sample's own domains, its mean minus the pivot.

    Args:
        rows: the statistics of the domains.
        chosen: which are the samples' own.
        pivot: (1 or N, C); None: the `centre`.
    """
    weights = chosen.weights
    mean = domains.mixed(weights, rows.mean)
    variance = domains.mixed(weights, rows.variance)
    if chosen.labels:
        if pivot is not None:
            mean = mean - (pivot - domains.mixed(weights, rows.near))
        return Moments(mean, variance)
    if pivot is None:
        pivot = centre(rows, chosen)
    apart = domains.deviation(weights, pivot, rows.near)
    return Moments(mean - apart, variance)


def member(weights):
    """1 for a sample with a domain, 0 for one without, (1 or N, 1)."""
    some = ops.any(ops.not_equal(weights, 0.0), axis=1, keepdims=True)
    return ops.cast(some, weights.dtype)
