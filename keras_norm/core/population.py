"""Population statistics: training normalizes by the state, or a mixture."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.state import read
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import Weight


@keras.saving.register_keras_serializable("keras_norm")
class Population(MovingAverage):
    """Training normalizes by a mixture of the batch and the state.

    used = w * batch + (1 - w) * state, the state without gradient.

    Args:
        weight: w; None is 1 - momentum, so that `used` is the updated state;
            "diminishing" is 1/t with t = 1 at the first step, and the state
            becomes `used`.
        momentum: fraction kept of the state.
        bias_correction: None, or "dinh": used / (1 - w^t).
        gradient: "batch" lets it flow through the batch's share, "none" makes
            the statistics constants.
    """

    def __init__(
        self, weight=None, momentum=0.9, bias_correction=None, gradient="batch"
    ):
        super().__init__(momentum)
        if weight not in (None, "diminishing"):
            known = isinstance(weight, (int, float))
            if not known or not 0 <= weight <= 1:
                raise errors.received(
                    "`weight` of the batch must be a number in [0, 1], "
                    "'diminishing', or None for 1 - momentum.",
                    weight=weight,
                )
        if bias_correction not in (None, "dinh"):
            raise errors.unknown_name(
                "bias_correction", bias_correction, [None, "dinh"]
            )
        if bias_correction and (weight == 1 or weight == "diminishing"):
            raise errors.received(
                "`bias_correction` divides by 1 - weight^t and needs a weight "
                "below 1.",
                weight=weight,
            )
        if gradient not in ("batch", "none"):
            raise errors.unknown_name("gradient", gradient, ["batch", "none"])
        self.weight, self.bias_correction = weight, bias_correction
        self.gradient = gradient

    def weights(self, operation, shapes) -> list:
        """The moving statistics, then the number of steps taken."""
        step = Weight("step", (), "zeros", "int32")
        return [*super().weights(operation, shapes), step]

    def initial_share(self, layer, updates) -> float:
        """The average of all batches has nothing of what was before."""
        if self.weight == "diminishing":
            return 0.0
        return super().initial_share(layer, updates)

    def select(self, layer, shift, spread, averages) -> Selected:
        """The mixture; the state follows."""
        dtype = averages.dtype
        time = read(layer.step, dtype) + 1.0
        w = {None: 1.0 - self.momentum, "diminishing": 1.0 / time}.get(
            self.weight, self.weight
        )
        seen = averages.seen
        base = averages.merged(averages.base)
        old_shift, old_spread = self.before(layer, dtype)

        def mixed(new, old):
            if new is None:
                return None
            if self.gradient == "none":
                new = ops.stop_gradient(new)
            return w * new + (1.0 - w) * ops.stop_gradient(old)

        # The state's mean relative to the base, like the batch's.
        used_shift = shift
        if shift is not None:
            used_shift = mixed(shift, old_shift - base)
        used_spread = mixed(spread, old_spread)
        keep = 1.0 - w if self.weight == "diminishing" else self.momentum
        self.follow(layer, shift, spread, averages, keep)
        if self.bias_correction:
            correction = 1.0 / (1.0 - w**time)
            used_spread = used_spread * correction
            if used_shift is not None:
                # (base + shift) * correction, still relative to the base.
                used_shift = used_shift * correction + base * (correction - 1.0)
        layer.step.assign(layer.step + ops.cast(ops.any(seen), "int32"))
        return Selected(used_shift, used_spread)


@keras.saving.register_keras_serializable("keras_norm")
class Lagging(MovingAverage):
    """Training normalizes by the state as inference does, and then moves it.

    Given the state, what training and inference compute is the same; the
    statistics are constants to the gradient.

    Args:
        momentum: fraction kept of the state.
        unbiased: store the variance divided by m - 1.
        initializers: initial state, see `MovingAverage`.
    """

    def select(self, layer, shift, spread, averages) -> Selected:
        """The state from before the step."""
        base = averages.merged(averages.base)
        used_shift, used_spread = self.before(layer, averages.dtype)
        if used_shift is not None:
            used_shift = used_shift - base
        self.follow(layer, shift, spread, averages)
        return Selected(used_shift, used_spread)
