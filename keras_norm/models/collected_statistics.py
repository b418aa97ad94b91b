"""Statistics of many batches put together, in float64 on the host.

    n' = n + k,  d = mean_b - mean,  mean <- mean + d k / n',
    variance <- variance n / n' + variance_b k / n' + d^2 n k / n'^2

(Chan, Golub & LeVeque, 1983) for a batch of k entries: after all of them the
moments of all entries together. Nothing large is ever subtracted.
"""

import numpy as np


class Collected:
    """Averages over the entries seen so far.

    Args:
        count: how many entries, broadcasting against the values from the left:
            one number, or one for each row or channel.
        values: arrays by name.
        about: which of them are variances or covariances, and about which
            mean: {name of the variance: name of the mean}. Covariances are
            (..., groups, d, d), groups consecutive channels of their mean.
    """

    def __init__(self, count, values, about=None):
        self.count = np.asarray(count, "float64")
        self.values = {n: np.asarray(v, "float64") for n, v in values.items()}
        self.about = dict(about or {})

    @property
    def seen(self):
        """Was there any entry?"""
        return bool(np.any(self.count > 0))

    def merged(self, other, between=True, share=None):
        """Both together.

        Args:
            other: of the same form.
            between: add the variance of the means.
            share: what the other counts, in place of its part of the entries.
        """
        total = self.count + other.count
        part = other.count / np.maximum(total, np.finfo("float64").tiny)
        if share is not None:
            part = np.where((self.count > 0) & (other.count > 0), share, part)
        made = {}
        for name, old in self.values.items():
            new = other.values[name]
            weight = aligned(part, new)
            made[name] = old + (new - old) * weight
            if between and name in self.about:
                mean = self.about[name]
                apart = other.values[mean] - self.values[mean]
                spread = aligned(part * (1 - part), apart) * apart
                made[name] = made[name] + product(spread, apart, new)
        return Collected(total, made, self.about)

    def of_weight(self, count):
        """The same values as if of that many entries."""
        return Collected(
            np.broadcast_to(count, self.count.shape), self.values, self.about
        )


def aligned(count, value):
    """A count with the rank of a value, aligned to its leading axes."""
    if count.ndim >= value.ndim:
        # Of channels, where the value is of groups, or of one row.
        return count
    return np.reshape(count, count.shape + (1,) * (value.ndim - count.ndim))


def product(left, right, spread):
    """left * right, or the outer products within groups of channels."""
    if spread.ndim == left.ndim:
        return left * right
    groups, width = spread.shape[-3:-1]
    fill = [(0, 0)] * (left.ndim - 1)
    fill.append((0, groups * width - left.shape[-1]))
    shape = (*left.shape[:-1], groups, width)
    left, right = (np.reshape(np.pad(t, fill), shape) for t in (left, right))
    return left[..., :, None] * right[..., None, :]
