"""Batch renormalization as statistics: the batch, corrected to its averages."""

import keras
from keras import ops

from keras_norm import errors
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
        stddev = ops.sqrt(spread + epsilon)
        held_mean = compact(layer.renorm_mean, dtype)
        held_stddev = ops.maximum(
            compact(layer.renorm_stddev, dtype), epsilon**0.5
        )
        r = ops.stop_gradient(stddev / held_stddev)
        d = (shift - (held_mean - averages.base)) / held_stddev
        d = ops.stop_gradient(d)
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


class _RootOf(keras.initializers.Initializer):
    """The square root of what another initializer gives."""

    def __init__(self, initializer):
        self.initializer = initializer

    def __call__(self, shape, dtype=None):
        inner = keras.initializers.get(self.initializer)
        if isinstance(inner, keras.initializers.Initializer):
            inner = inner.clone()
        return ops.sqrt(inner(shape, dtype=dtype))
