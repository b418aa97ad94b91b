"""Batch renormalization as statistics: the batch, corrected to its averages.

Keras' form with five weights of state, and the paper's with two.
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.state import snapshot
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import Weight
from keras_norm.core.statistics import check_momentum
from keras_norm.core.statistics import compact
from keras_norm.core.statistics import move


@keras.saving.register_keras_serializable("keras_norm")
class Renorm(MovingAverage):
    """Batch renormalization as Keras 3.15 has it: five weights of state.

    y = (x - mean) / stddev * r + d with r = stddev / renorm_stddev and
    d = (mean - renorm_mean) / renorm_stddev clipped and without gradient.

    Args:
        momentum: fraction kept of the statistics of inference.
        renorm_momentum: fraction kept of those of training.
        clipping: {"rmin": ..., "rmax": ..., "dmax": ...}, all optional.
        unbiased: keep the unbiased variance.
        initializers: as for `MovingAverage`.
    """

    def __init__(
        self,
        momentum=0.99,
        renorm_momentum=0.99,
        clipping=None,
        unbiased=False,
        initializers=None,
    ):
        super().__init__(momentum, unbiased, initializers)
        self.renorm_momentum = check_momentum(
            "renorm_momentum", renorm_momentum
        )
        self.clipping = self.check_clipping(clipping or {})

    @staticmethod
    def check_clipping(clipping):
        """The clipping, checked."""
        keys = ["rmax", "rmin", "dmax"]
        if set(clipping) - set(keys):
            raise errors.received(
                "Received invalid keys for `renorm_clipping` argument. "
                f"Supported keys are {keys}.",
                renorm_clipping=clipping,
            )
        low, high, most = (clipping.get(k) for k in ("rmin", "rmax", "dmax"))
        if low is not None and high is not None and high < low:
            raise errors.received(
                "rmax should be greater than rmin in `renorm_clipping`.",
                renorm_clipping=clipping,
            )
        if most is not None and most < 0:
            raise errors.received(
                "dmax should be non-negative in `renorm_clipping`.",
                renorm_clipping=clipping,
            )
        return dict(clipping)

    def weights(self, operation, shapes) -> list:
        """Moving mean and variance, then three more."""
        mean, variance = super().weights(operation, shapes)
        root = _RootOf(variance.initializer)
        return [
            mean,
            variance,
            Weight("moving_stddev", mean.shape, root),
            Weight("renorm_mean", mean.shape, mean.initializer),
            Weight("renorm_stddev", mean.shape, root),
        ]

    def select(self, layer, shift, spread, averages) -> Selected:
        """The batch, corrected towards the state before the step."""
        dtype, epsilon = spread.dtype, layer.epsilon
        held = (layer.renorm_mean, layer.renorm_stddev)
        r, d = correction(shift, spread, averages.base, held, epsilon)
        if self.clipping.get("rmin") is not None:
            r = ops.maximum(r, self.clipping["rmin"])
        if self.clipping.get("rmax") is not None:
            r = ops.minimum(r, self.clipping["rmax"])
        if self.clipping.get("dmax") is not None:
            d = ops.clip(d, -self.clipping["dmax"], self.clipping["dmax"])
        seen = averages.seen
        mean, variance = self.stored(layer, shift, spread, averages)
        stddev = ops.sqrt(variance + epsilon)
        move(layer.renorm_mean, mean, seen, self.renorm_momentum)
        move(layer.renorm_stddev, stddev, seen, self.renorm_momentum)
        move(layer.moving_mean, mean, seen, self.momentum)
        move(layer.moving_stddev, stddev, seen, self.momentum)
        # Inference divides by sqrt(moving_variance + epsilon).
        moved = compact(layer.moving_stddev, dtype)
        variance = ops.maximum(ops.square(moved) - epsilon, 0.0)
        move(layer.moving_variance, variance, seen, 0.0)
        return Selected(shift, spread, (r, d))


@keras.saving.register_keras_serializable("keras_norm")
class BatchRenorm(MovingAverage):
    """Batch renormalization as published: one mean, one deviation.

    r = clip(stddev_B / stddev, 1/rmax, rmax) and d = clip((mean_B - mean) /
    stddev, -dmax, dmax), without gradient, from the state before the step;
    stddev_B = sqrt(variance_B + epsilon) is what the state averages.

    Args:
        rmax: initial value of the weight `rmax`, at least 1.
        dmax: initial value of the weight `dmax`, at least 0.
        momentum: fraction kept.
    """

    def __init__(self, rmax=3.0, dmax=5.0, momentum=0.99):
        super().__init__(momentum)
        self.rmax = check_bound("rmax", rmax, 1.0)
        self.dmax = check_bound("dmax", dmax, 0.0)

    def weights(self, operation, shapes) -> list:
        """The two bounds, which a schedule may set, then the averages."""
        mean, variance = super().weights(operation, shapes)
        bounds = [
            Weight(name, (), keras.initializers.Constant(getattr(self, name)))
            for name in ("rmax", "dmax")
        ]
        return [*bounds, mean, Weight("moving_stddev", variance.shape, "ones")]

    def state(self, layer, dtype):
        """The mean, and what gives the deviation when epsilon is added."""
        stddev = compact(layer.moving_stddev, dtype)
        variance = ops.maximum(ops.square(stddev) - layer.epsilon, 0.0)
        return compact(layer.moving_mean, dtype), variance

    def select(self, layer, shift, spread, averages) -> Selected:
        """The batch, corrected towards the state before the step."""
        dtype, epsilon = spread.dtype, layer.epsilon
        held = (layer.moving_mean, layer.moving_stddev)
        r, d = correction(shift, spread, averages.base, held, epsilon)
        rmax, dmax = (ops.cast(w, dtype) for w in (layer.rmax, layer.dmax))
        r = ops.minimum(ops.maximum(r, 1.0 / rmax), rmax)
        d = ops.minimum(ops.maximum(d, -dmax), dmax)
        mean, variance = self.stored(layer, shift, spread, averages)
        stddev = ops.sqrt(variance + epsilon)
        move(layer.moving_mean, mean, averages.seen, self.momentum)
        move(layer.moving_stddev, stddev, averages.seen, self.momentum)
        return Selected(shift, spread, (r, d))


def correction(shift, spread, base, held, epsilon):
    """(r, d) from the (mean, deviation) held, not clipped, no gradient."""
    mean, stddev = (snapshot(compact(w, spread.dtype)) for w in held)
    stddev = ops.maximum(stddev, epsilon**0.5)
    r = ops.sqrt(spread + epsilon) / stddev
    d = (shift - (mean - base)) / stddev
    return ops.stop_gradient(r), ops.stop_gradient(d)


def check_bound(name, value, least) -> float:
    """A bound of the correction: a number, at least `least`."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not known or not value >= least:
        raise errors.received(
            f"`{name}` must be a number of at least {least:g}.",
            **{name: value},
        )
    return float(value)


class _RootOf(keras.initializers.Initializer):
    """The square root of what another initializer gives."""

    def __init__(self, initializer):
        self.initializer = initializer

    def __call__(self, shape, dtype=None):
        inner = keras.initializers.get(self.initializer)
        if isinstance(inner, keras.initializers.Initializer):
            inner = inner.clone()
        return ops.sqrt(inner(shape, dtype=dtype))
