"""Gaussian mixtures with diagonal covariances, fitted within a training step.

A fixed number of steps of expectation and maximization, by matrix products
over the points (M, C); nothing of them has a gradient.
"""

from collections import namedtuple

from keras import ops

from keras_norm.core.distribution import replica_count
from keras_norm.core.distribution import replica_gather
from keras_norm.core.distribution import replica_index
from keras_norm.core.distribution import replica_sum
from keras_norm.core.moments import TINY
from keras_norm.core.primitives import at_least_one

# weight (K,), mean and variance (K, C); means relative to that of the points.
Mixture = namedtuple("Mixture", "weight mean variance")

# No component weighs less, or has less than this much of the batch's variance,
# or of the points.
LEAST_WEIGHT = 1e-3
LEAST_VARIANCE = (1e-6, 1e-2)
LEAST_POINTS = 1e-6


class Points:
    """The channel vectors of a batch: (M, C), near zero.

    Args:
        values: (M, C), 0 where masked.
        weights: (M, C) or (M, 1), None if nothing is masked.
        synchronized: sums are those of all replicas.
    """

    def __init__(self, values, weights=None, synchronized=False):
        self.values = ops.stop_gradient(values)
        self.synchronized, self.weights = synchronized, weights
        self.seen = None
        if weights is not None and weights.shape[1] > 1:
            self.seen = ops.cast(weights > 0, values.dtype)
        self.squares = ops.square(self.values)

    def total(self, t):
        """The sum of what replicas have summed up."""
        return replica_sum(t) if self.synchronized else t

    def sums(self, shares):
        """Weight, sum and sum of squares of each component.

        Args:
            shares: (M, K).

        Returns:
            (K, 1) or (K, C), (K, C), (K, C).
        """
        values, squares, weights = self.values, self.squares, self.weights
        if weights is None:
            count = ops.expand_dims(ops.sum(shares, axis=0), -1)
        elif self.seen is None:
            shares = shares * weights
            count = ops.expand_dims(ops.sum(shares, axis=0), -1)
        else:
            values, squares = weights * values, weights * squares
            count = ops.matmul(ops.transpose(shares), weights)
        turned = ops.transpose(shares)
        first, second = ops.matmul(turned, values), ops.matmul(turned, squares)
        found = ops.concatenate([count, first, second], axis=-1)
        found, width = self.total(found), count.shape[-1]
        channels = values.shape[-1]
        return (
            found[:, :width],
            found[:, width : width + channels],
            found[:, width + channels :],
        )

    def of_points(self):
        """The weight of each point, (M,)."""
        if self.weights is None:
            return ops.ones_like(self.values[:, 0])
        return ops.mean(self.weights, axis=-1)


def shares(points, mixture):
    """How much each point belongs to each component: (M, K), constant.

    log N(x; m, S) in the channels that are seen, by two products.
    """
    if mixture.weight.shape[0] == 1:
        return ops.ones_like(points.values[:, :1])
    precision = 1.0 / mixture.variance
    linear = mixture.mean * precision
    rest = mixture.mean * linear + ops.log(mixture.variance)
    if points.seen is None:
        rest = ops.sum(rest, axis=-1)
    else:
        rest = ops.matmul(points.seen, ops.transpose(rest))
    log = ops.matmul(points.values, ops.transpose(linear))
    log = log - 0.5 * ops.matmul(points.squares, ops.transpose(precision))
    log = log - 0.5 * rest + ops.log(mixture.weight)
    return ops.stop_gradient(ops.softmax(log))


def batch(points):
    """(weight, mean, variance) of all points, each (1, C) or (1, 1)."""
    one = ops.ones_like(points.values[:, :1])
    count, first, second = points.sums(one)
    mean = first / ops.maximum(count, TINY)
    variance = second / ops.maximum(count, TINY) - ops.square(mean)
    return count, mean, ops.maximum(variance, 0.0)


def least(variance):
    """What no component's variance is below, from the batch's."""
    absolute, relative = LEAST_VARIANCE
    return absolute + relative * variance


def fitted(points, start, steps):
    """The mixture after a number of steps from that start.

    Args:
        points: a `Points`.
        start: a `Mixture`.
        steps: number of steps.
    """
    total, _, variance = batch(points)
    floor = least(variance)
    mixture = start
    for _ in range(steps):
        count, first, second = points.sums(shares(points, mixture))
        n = ops.maximum(count, LEAST_POINTS)
        mean = first / n
        # What cancels here is far below the floor.
        spread = ops.maximum(second / n - ops.square(mean), floor)
        weight = ops.mean(count, -1) / ops.maximum(ops.mean(total), TINY)
        weight = ops.maximum(weight, LEAST_WEIGHT)
        mixture = Mixture(weight / ops.sum(weight), mean, spread)
    return Mixture(*(ops.stop_gradient(t) for t in mixture))


def seeded(points, components, limit, uniform):
    """A mixture whose means are points, chosen as k-means++ does.

    Each next one is drawn with a chance in proportion to its squared distance
    from the nearest of those before, in units of the batch's deviations.

    Args:
        points: a `Points`.
        components: how many.
        limit: number of points to choose from, evenly taken from all.
        uniform: numbers in [0, 1), one for each component.
    """
    _, _, variance = batch(points)
    sample, weight = candidates(points, limit)
    scaled = sample * ops.rsqrt(variance + TINY)
    places = ops.arange(ops.shape(sample)[0], dtype="int32")
    chance, distance, means = weight, None, []
    for k in range(components):
        reached = ops.cumsum(chance)
        below = reached <= uniform[k] * ops.sum(chance)
        here = ops.equal(places, ops.sum(ops.cast(below, "int32")))
        here = ops.expand_dims(ops.cast(here, sample.dtype), -1)
        # Where nothing is left to choose: zero, which is near the mean.
        means.append(ops.sum(here * sample, axis=0))
        centre = ops.sum(here * scaled, axis=0)
        apart = ops.sum(ops.square(scaled - centre), axis=-1)
        distance = apart if k == 0 else ops.minimum(distance, apart)
        chance = weight * distance
    means = ops.stack(means)
    if points.synchronized and replica_count() > 1:
        # Whatever the others have drawn.
        first = ops.cast(ops.equal(replica_index(), 0), means.dtype)
        means = replica_sum(first * means)
    variance = ops.maximum(variance, least(variance))
    return Mixture(
        ops.full((components,), 1.0 / components, means.dtype),
        means,
        ops.zeros_like(means) + variance,
    )


def candidates(points, limit):
    """(values (P, C), weights (P,)) of every so many of the points."""
    values, weight = points.values, points.of_points()
    shared = points.synchronized and replica_count() > 1
    if shared:
        limit = max(limit // replica_count(), 1)
    size = ops.shape(values)[0]
    stride = at_least_one((size + limit - 1) // limit)
    # Not values[::stride]: TensorFlow loses the rank of that.
    some = ops.arange((size + stride - 1) // stride, dtype="int32") * stride
    values, weight = (ops.take(t, some, axis=0) for t in (values, weight))
    if not shared:
        return values, weight
    both = ops.concatenate([values, ops.expand_dims(weight, -1)], axis=-1)
    both = ops.transpose(replica_gather(ops.transpose(both)))
    return both[:, :-1], both[:, -1]
