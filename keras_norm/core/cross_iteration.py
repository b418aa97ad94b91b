"""Statistics of recent batches, brought to the kernel of now.

A window keeps mean and variance of each of the last batches and, of the kernel
W that made the data h, how they depend on it: to first order

    mean  -> mean + <p, D>,  E[h^2] -> E[h^2] + 2 <E[h patch], D>,

D the change of W since, p the mean patch. Nothing is formed from raw second
moments: with a = <p, D> and the covariances c of h and the patch the variance
of an entry is variance + 2 <c, D> - a^2, and that of the window is the mean of
the entries' variances and squared distances of their means. Past entries are
constants to the gradient.

Yao et al., 2021, https://arxiv.org/abs/2002.05712
"""

from typing import Any

from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core import entries
from keras_norm.core.moments import bessel
from keras_norm.core.moments import settled
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import compact
from keras_norm.core.statistics import move


def exactly(base, rest):
    """base + rest as the nearest number and what is left.

    A mean at 1e4 is rounded by 5e-4 of a deviation of 1.
    """
    total = settled(base, rest)
    return total, (base - total) + rest


class CrossIterationCall:
    """What `elementwise` asks of a layer, for one call.

    Args:
        layer: its options, state and `window`.
        source: a `KernelInput`, or None: the data's kernel counts as constant.
        origin: (C,), what the data lack of what the moving mean is of.
    """

    lifts = True

    def __init__(self, layer, operation, area, source=None, origin=None):
        self.layer, self.operation, self.area = layer, operation, area
        self.source, self.origin = source, origin

    def measures(self, training):
        """Only training looks at the batch."""
        return training

    def inference_factors(self, x, view):
        """From the moving averages."""
        layer = self.layer
        spread = compact(layer.moving_variance, x.dtype)
        rate = self.operation.rate(spread, layer.epsilon)
        x = x - view(compact(layer.moving_mean, x.dtype))
        return x, rate, ops.zeros_like(rate)

    def factors(self, table, training):
        """(scale, offset) on the table; window and state move."""
        layer, averages = self.layer, self.area.over(table)
        seen = averages.seen
        shift, spread = self.operation.measure(table, averages, layer.epsilon)
        unbiased = bessel(spread, averages.entries)
        mean, variance = shift, spread
        if layer.window:
            mean, variance = self.together(averages, shift, spread)
        started = True
        if layer.burn_in:
            started = ops.greater_equal(layer.step, layer.burn_in)
            mean = ops.where(started, mean, shift)
            variance = ops.where(started, variance, unbiased)
        if layer.window:
            self.push(table, averages, shift, spread, started)
        absolute = averages.base + shift
        if self.origin is not None:
            absolute = absolute + self.origin
        move(layer.moving_mean, absolute, seen, layer.momentum)
        move(layer.moving_variance, unbiased, seen, layer.momentum)
        layer.step.assign(layer.step + ops.cast(ops.any(seen), "int32"))
        rate = self.operation.rate(variance, layer.epsilon)
        return elementwise.factors(
            table, averages, Selected(mean, variance), rate
        )

    # The window ---------------------------------------------------------------

    def held(self, name, dtype) -> Any:
        """A part of the window."""
        return ops.cast(self.layer.window[name], dtype)

    def together(self, averages, shift, spread):
        """Mean and variance of the window, the mean relative to the base."""
        dtype = averages.dtype
        means, variances = self.past(averages)
        means, variances = map(ops.stop_gradient, (means, variances))
        # What the step made negative is left out.
        kept = (self.held("weight", dtype) > 0) & (variances >= 0)
        kept = ops.stop_gradient(ops.cast(kept, dtype))
        # Zeros: an entry that is left out may be infinite.
        means = ops.where(kept > 0, means, 0.0)
        variances = ops.where(kept > 0, variances, 0.0)
        count = 1.0 + ops.sum(kept, axis=0, keepdims=True)
        mean = (shift + ops.sum(means, axis=0, keepdims=True)) / count
        squares = kept * (variances + ops.square(means - mean))
        total = spread + ops.square(shift - mean)
        total = total + ops.sum(squares, axis=0, keepdims=True)
        return mean, total / count

    def past(self, averages):
        """Means relative to the base and variances, with today's kernel."""
        dtype, source = averages.dtype, self.source
        variances = self.held("variance", dtype)
        if source is None:
            return self.means(averages), variances
        old = self.held("kernel", dtype)
        change = source.kernel - old
        patch = self.held("patch", dtype)
        rest = self.held("patch_rest", dtype)
        moved = source.applied(patch + rest, change)
        covariance = self.held("covariance", dtype)
        linear = 2.0 * ops.sum(covariance * change, axis=(1, 2))
        variances = variances + linear - ops.square(moved)
        if source.relative:
            # The same number, without the difference of large ones.
            patch = (patch - source.pivot) + rest
            means = source.applied(patch, source.kernel[None]) - averages.base
        else:
            means = self.means(averages) + moved
        return means, variances

    def means(self, averages):
        """As they were, relative to the base."""
        means = self.held("mean", averages.dtype) - averages.base
        return means + self.held("mean_rest", averages.dtype)

    def push(self, table, averages, shift, spread, started):
        """Put the batch in front; the last entry drops out."""
        layer, seen = self.layer, averages.seen
        moves = started
        if seen is not True:
            moves = ops.any(seen) & started
        weight = ops.ones_like(shift) * ops.cast(seen, shift.dtype)
        new, source = {"weight": weight[0], "variance": spread[0]}, self.source
        if "mean" in layer.window:
            base = averages.base[0]
            new["mean"], new["mean_rest"] = exactly(base, shift[0])
        if source is not None:
            patch, new["covariance"] = self.measured(table, averages, shift)
            new["patch"], new["patch_rest"] = exactly(source.pivot, patch)
            new["kernel"] = source.kernel
        for name, value in new.items():
            variable = layer.window[name]
            value = ops.cast(ops.stop_gradient(value), variable.dtype)
            old = ops.convert_to_tensor(variable)
            moved = ops.concatenate([value[None], old[:-1]], axis=0)
            if moves is not True:
                moved = ops.where(moves, moved, old)
            variable.assign(moved)

    def measured(self, table, averages, shift):
        """Mean patch and covariances of the batch."""
        h = entries.about(table, averages, shift)
        weights = table.mask
        # Channels last; a batch of vectors is (1, N, C) already.
        if len(h.shape) == len(self.source.data.shape):
            axis = self.layer.axis % len(h.shape)
            h = ops.moveaxis(h, axis, -1)
            if weights is not None:
                weights = ops.moveaxis(weights, axis, -1)
        if weights is not None and weights.shape[-1] != 1:
            raise errors.received(
                "`mask` must be the same for all channels where a kernel is "
                "given.",
                mask_shape=tuple(weights.shape),
            )
        return self.source.measured(h, weights)


def normalize(call, x, axis, training, mask=None, recover=None):
    """The data of a call, normalized."""
    return elementwise.normalize_over(call, x, axis, training, mask, recover)
