"""Deviations beyond the variance: Lp, maximum, range, median and the like.

They need a second pass over the data, relative to the mean of their part, or
all entries of a part side by side. Their state keeps the deviation with its
epsilon in it, so that training and inference divide by the same thing.
"""

import math

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import primitives
from keras_norm.core.entries import about
from keras_norm.core.entries import absolute
from keras_norm.core.entries import entry_at
from keras_norm.core.entries import expectation
from keras_norm.core.entries import extreme_of_gaussians
from keras_norm.core.entries import extremes
from keras_norm.core.entries import number_seen
from keras_norm.core.entries import side_by_side
from keras_norm.core.entries import sorted_entries
from keras_norm.core.operations import Center
from keras_norm.core.operations import Operation
from keras_norm.core.operations import mean_and_variance


class _ByDeviation(Operation):
    """Divides by the spread as it is: epsilon is in it."""

    names = ("mean", "deviation")

    def rate(self, spread, epsilon):
        """1 / deviation."""
        return 1.0 / spread


@keras.saving.register_keras_serializable("keras_norm")
class LpDeviation(_ByDeviation):
    """y = (x - mean) / deviation, the deviation an Lp norm of x - mean.

    p = 1: c E|x - mean| + epsilon; other p: c (E|x - mean|^p + epsilon)^(1/p);
    "inf": c(n) (mean of the `top_k` largest |x - mean|) + epsilon.

    Args:
        p: a positive number or "inf".
        top_k: for "inf", how many of the largest entries are averaged.
        gaussian_correction: multiply by the factor c that makes the deviation
            of Gaussian data their standard deviation; c = 1 otherwise.
    """

    def __init__(self, p=2, top_k=1, gaussian_correction=True):
        number = isinstance(p, (int, float)) and not isinstance(p, bool)
        if p != "inf" and not (number and 0 < p < math.inf):
            raise errors.received(
                "`p` must be a positive number or 'inf'.", p=p
            )
        if not isinstance(top_k, int) or top_k < 1:
            raise errors.received(
                "`top_k` must be a positive integer.", top_k=top_k
            )
        self.p, self.top_k = p, top_k
        self.gaussian_correction = gaussian_correction

    @property
    def factor(self):
        """C of the Gaussian correction for finite p."""
        if not self.gaussian_correction:
            return 1.0
        p = self.p
        root = 2 ** (p / 2) * math.gamma((p + 1) / 2)
        return (math.sqrt(math.pi) / root) ** (1 / p)

    def measure(self, table, averages, epsilon):
        """The mean and the deviation."""
        mean, _ = Center().measure(table, averages, epsilon)
        c = about(table, averages, mean)
        if self.p == "inf":
            return mean, self._largest(table, averages, c) + epsilon
        if self.p == 2:
            power = ops.square(c)
        else:
            power = absolute(c)
            if self.p != 1:
                # Twice `where`: no infinite gradient at 0 for p < 1.
                apart = power > 0
                power = ops.power(ops.where(apart, power, 1.0), self.p)
                power = ops.where(apart, power, 0.0)
        moment = expectation(table, averages, power)
        if self.p == 1:
            return mean, self.factor * moment + epsilon
        # max: a moment of 0 with epsilon 0 must not divide by 0.
        moment = ops.maximum(moment + epsilon, 1e-30)
        return mean, self.factor * ops.power(moment, 1.0 / self.p)

    def _largest(self, table, averages, c):
        size = absolute(c)
        factor = 1.0
        if self.gaussian_correction:
            factor = extreme_of_gaussians(number_seen(table, averages))
        if self.top_k == 1:
            each = size
            if table.axes:
                # PyTorch has no maximum of nothing.
                reduce = ops.sum if size.shape[0] == 0 else ops.max
                each = reduce(size, axis=table.axes)
            return factor * averages.maximum(each)
        values, valid = side_by_side(table, averages, size)
        values = ops.where(valid, values, 0.0)
        values = ops.pad(values, ((0, 0), (0, 0), (0, self.top_k)))
        top, _ = ops.top_k(values, self.top_k)
        seen = ops.sum(ops.cast(valid, top.dtype), axis=-1)
        seen = ops.clip(seen, 1.0, float(self.top_k))
        return factor * ops.sum(top, axis=-1) / seen


@keras.saving.register_keras_serializable("keras_norm")
class RangeDeviation(_ByDeviation):
    """y = (x - mean) / (fix * mean over chunks of (max - min) + epsilon).

    The entries of a part, in the order (batch, positions), are cut into
    consecutive chunks; the last may be shorter.

    Args:
        num_chunks: number of chunks.
        scale_fix: "code", the authors' 0.175 (1 + sqrt(pi ln 4)) / sqrt(2 ln n)
            for n entries in a chunk, which makes the deviation of Gaussian
            data 1, or "paper", 1 / sqrt(2 ln n), about twice that.
    """

    def __init__(self, num_chunks=16, scale_fix="code"):
        if not isinstance(num_chunks, int) or num_chunks < 1:
            raise errors.received(
                "`num_chunks` must be a positive integer.",
                num_chunks=num_chunks,
            )
        if scale_fix not in ("code", "paper"):
            raise errors.unknown_name("scale_fix", scale_fix, ["code", "paper"])
        self.num_chunks, self.scale_fix = num_chunks, scale_fix

    def measure(self, table, averages, epsilon):
        """The mean and the deviation."""
        mean, _ = Center().measure(table, averages, epsilon)
        c = about(table, averages, mean)
        values, valid = side_by_side(table, averages, c)
        gaps = table.mask is not None or averages.shared
        low, high, used, n = self._chunks(values, valid, gaps)
        spread = ops.sum(high - low, axis=-1) / ops.maximum(used, 1.0)
        fix = 1.0 / ops.sqrt(2.0 * ops.log(ops.maximum(n, 2.0)))
        if self.scale_fix == "code":
            fix = fix * 0.175 * (1 + math.sqrt(math.pi * math.log(4)))
        return mean, spread * fix + epsilon

    def _chunks(self, values, valid, gaps):
        """Extremes of every chunk, chunks in use, entries of a chunk.

        `gaps`: entries that do not count may lie between others.
        """
        if gaps:
            return self._masked_chunks(values, valid)
        chunks = self.num_chunks
        count = ops.shape(values)[-1] - 1
        size = primitives.at_least_one((count + chunks - 1) // chunks)
        parts, groups = ops.shape(values)[:2]

        def cut(t):
            # The last chunk is filled with entries that do not count.
            fill = ops.zeros((parts, groups, size * chunks - count), t.dtype)
            t = ops.concatenate([t[..., :count], fill], axis=-1)
            return ops.reshape(t, (parts, groups, chunks, -1))

        inside = cut(ops.cast(valid, values.dtype)) > 0
        low, high = extremes(cut(values), inside)
        some = ops.any(inside, axis=-1)
        used = ops.sum(ops.cast(some, values.dtype), axis=-1)
        return low, high, used, ops.cast(size, values.dtype)

    def _masked_chunks(self, values, valid):
        """The same over the entries that count, as if the rest were cut out."""
        rank = ops.cumsum(ops.cast(valid, values.dtype), axis=-1) - 1.0
        count = ops.sum(ops.cast(valid, values.dtype), axis=-1, keepdims=True)
        size = ops.maximum(ops.ceil(count / self.num_chunks), 1.0)
        chunk = ops.floor(rank / size)
        pairs = []
        for k in range(self.num_chunks):
            inside = ops.logical_and(valid, ops.equal(chunk, float(k)))
            pairs.append(extremes(values, inside))
        low, high = (ops.stack(e, axis=-1) for e in zip(*pairs, strict=True))
        used = ops.ceil(count / size)[..., 0]
        return low, high, used, size[..., 0]


KINDS = ("std", "mad", "range", "rsd", "lsd", "sqd", "wcd")


@keras.saving.register_keras_serializable("keras_norm")
class Deviation(_ByDeviation):
    """y = (x - S) / D for a deviation measure D and its statistic S.

    | kind | D | S |
    |---|---|---|
    | std | standard deviation | mean |
    | mad | mean of |x - median| | median |
    | range | (max - min) / 2 | (max + min) / 2 |
    | rsd | sqrt(E[max(x - mean, 0)^2]) | mean |
    | lsd | sqrt(E[max(mean - x, 0)^2]) | mean |
    | sqd | mean of the upper (1 - alpha) tail - mean | alpha-quantile |
    | wcd | max - mean | max |

    epsilon lies inside the root of std, rsd and lsd, outside of the others.

    Args:
        kind: one of the above.
        alpha: level of the quantile of "sqd", in (0, 1).
    """

    names = ("center", "deviation")

    def __init__(self, kind="rsd", alpha=0.7):
        if kind not in KINDS:
            raise errors.unknown_name("deviation", kind, list(KINDS))
        if not 0 < alpha < 1:
            raise errors.received(
                "`alpha` must lie between 0 and 1.", alpha=alpha
            )
        self.kind, self.alpha = kind, alpha

    def measure(self, table, averages, epsilon):
        """S relative to the base, and D."""
        if self.kind == "std":
            mean, variance = mean_and_variance(table, averages)
            return mean, ops.sqrt(ops.maximum(variance + epsilon, 1e-30))
        mean, _ = Center().measure(table, averages, epsilon)
        c = about(table, averages, mean)
        if self.kind in ("rsd", "lsd"):
            side = ops.relu(c if self.kind == "rsd" else -c)
            half = expectation(table, averages, ops.square(side))
            return mean, ops.sqrt(ops.maximum(half + epsilon, 1e-30))
        values, valid = side_by_side(table, averages, c)
        low, high = extremes(values, valid)
        if self.kind == "wcd":
            return mean + high, high + epsilon
        if self.kind == "range":
            return mean + (high + low) / 2, (high - low) / 2 + epsilon
        ordered, count = sorted_entries(values, valid)
        if self.kind == "mad":
            lower = entry_at(ordered, ops.floor((count - 1) / 2))
            median = (lower + entry_at(ordered, ops.floor(count / 2))) / 2
            # An empty part has no median: any finite number will do.
            median = ops.where(count[..., 0] > 0, median, 0.0)
            distance = absolute(about(table, averages, mean + median))
            spread = expectation(table, averages, distance)
            return mean + median, spread + epsilon
        place = self.alpha * ops.maximum(count - 1.0, 0.0)
        low_place = ops.floor(place)
        share = (place - low_place)[..., 0]
        quantile = (1.0 - share) * entry_at(ordered, low_place)
        # Where the place is exact there may be no entry above it.
        above = ops.minimum(low_place + 1.0, ops.maximum(count - 1.0, 0.0))
        quantile = quantile + share * entry_at(ordered, above)
        quantile = ops.where(count[..., 0] > 0, quantile, 0.0)
        # The mean of the upper tail, by Rockafellar and Uryasev: exact also
        # where the tail holds a fraction of an entry, for q any alpha-quantile.
        cut = entry_at(ordered, self.tail_place(count))
        cut = ops.where(count[..., 0] > 0, cut, 0.0)
        beyond = ops.relu(about(table, averages, mean + cut))
        tail = expectation(table, averages, beyond) / (1.0 - self.alpha)
        return mean + quantile, cut + tail + epsilon

    def tail_place(self, count):
        """Index of the smallest entry with alpha of the entries up to it."""
        # The small number keeps rounding of alpha * count from moving it.
        place = ops.ceil(self.alpha * count - 1e-4) - 1.0
        return ops.maximum(place, 0.0)
