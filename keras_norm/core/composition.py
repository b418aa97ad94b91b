"""Training by the updated state, with the gradient of a composition."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.state import read
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import Weight
from keras_norm.core.statistics import put


@keras.saving.register_keras_serializable("keras_norm")
class Composition(MovingAverage):
    """e = (E[x], E[x^2]) <- (1 - a) e + a of the batch, and e normalizes.

    The gradient is that of f(e) at the new e, times de/dx of the batch with
    weight 1 instead of a: compositional gradient descent.

    Moments about zero would cancel; the state is the mean and the variance,
    variance <- (1-a) variance + a variance_B + a (1-a) (mean_B - mean)^2.

    Args:
        momentum: 1 - a, or None for a = min(1, t^-power), t = 1 at first.
        power: see above.
    """

    def __init__(self, momentum=None, power=0.75):
        super().__init__(0.0 if momentum is None else momentum)
        known = isinstance(power, (int, float)) and not isinstance(power, bool)
        if not known or not power >= 0:
            raise errors.received(
                "`power` must be a number of at least 0: the weight of the "
                "batch is min(1, t^-power).",
                power=power,
            )
        self.diminishing = momentum is None
        self.momentum, self.power = momentum, float(power)

    def weights(self, operation, shapes) -> list:
        """The moving moments, then the number of steps taken."""
        step = Weight("step", (), "zeros", "int32")
        return [*super().weights(operation, shapes), step]

    def initial_share(self, layer, updates) -> float:
        """Nothing where the first weight is 1."""
        if self.diminishing:
            return 0.0
        return super().initial_share(layer, updates)

    def share(self, layer, dtype):
        """a: the batch's share of the state."""
        if not self.diminishing:
            return 1.0 - self.momentum
        # t >= 1, so that t^-power is at most 1.
        return ops.power(read(layer.step, dtype) + 1.0, -self.power)

    def select(self, layer, shift, spread, averages) -> Selected:
        """The new state, by the gradient of the batch's moments."""
        dtype, seen, base = averages.dtype, averages.seen, averages.base
        a = self.share(layer, dtype)
        mean, variance = (ops.stop_gradient(t) for t in (shift, spread))
        old_mean, old_variance = self.before(layer, dtype)
        # The batch's mean relative to the state's.
        ahead = mean - (old_mean - base)
        new_variance = old_variance + a * (
            variance - old_variance + (1.0 - a) * ops.square(ahead)
        )
        # a = 1 leaves no trace of the state, whatever it was.
        behind = (1.0 - a) * ahead
        new_variance = ops.where(a < 1.0, new_variance, variance)
        # var = E[x^2] - E[x]^2 at the new e has, along the batch's moments,
        # the derivative d variance_B + 2 (mean_B - mean) d mean_B.
        used_variance = (
            new_variance + (spread - variance) + 2.0 * behind * (shift - mean)
        )
        used_mean = shift - behind
        self.keep(layer, "mean", old_mean + a * ahead, old_mean, seen)
        self.keep(layer, "variance", new_variance, old_variance, seen)
        layer.step.assign(layer.step + ops.cast(ops.any(seen), "int32"))
        return Selected(used_mean, used_variance)

    def keep(self, layer, name, new, old, seen):
        """Store what is new where anything was seen."""
        new = new if seen is True else ops.where(seen, new, old)
        put(getattr(layer, f"moving_{name}"), new)
