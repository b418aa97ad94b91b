"""Batch statistics fused with a prediction of them, and one call that does so.

Wang et al., 2018, https://arxiv.org/abs/1802.03133
"""

from keras import ops

from keras_norm.core import elementwise
from keras_norm.core.moments import TINY
from keras_norm.core.state import snapshot
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import compact


def fused(shift, spread, prediction, keep, max_ratio):
    """Mean and variance of the mixture of a prediction and the batch.

    mean = p mean' + (1 - p) mean_B,
    variance = p variance' + (1 - p) variance_B + p (1 - p) (mean_B - mean')^2,
    where the mean over the channels of variance' / variance_B is below
    `max_ratio`; the batch elsewhere.

    Args:
        shift: mean_B, relative to any base, (1, C).
        spread: variance_B.
        prediction: (mean' relative to the same base, variance').
        keep: p.
        max_ratio: what the prediction must stay below.
    """
    mean, variance = prediction
    ratio = ops.mean(variance / ops.maximum(spread, TINY))
    near = ops.stop_gradient(ratio) < max_ratio
    distance = mean - shift
    mixed = spread + keep * (variance - spread)
    mixed = mixed + keep * (1.0 - keep) * ops.square(distance)
    return (
        ops.where(near, shift + keep * distance, shift),
        ops.where(near, mixed, spread),
    )


class KalmanCall:
    """What `elementwise` asks of a layer, for one call with a prediction.

    Args:
        layer: a `KalmanNormalization`.
        prediction: (mean, variance), each (1, C), or None.

    Attributes:
        found: mean and variance that normalized, each (C,).
    """

    lifts = True

    def __init__(self, layer, prediction):
        self.layer, self.prediction = layer, prediction
        self.area, self.operation = layer.area, layer.operation
        self.measures = layer.measures
        self.found: tuple = ()

    def inference_factors(self, x, view):
        """From the state."""
        state = self.layer.statistics.state(self.layer, x.dtype)
        self.found = tuple(ops.copy(t[0]) for t in state)
        return self.layer.inference_factors(x, view)

    def factors(self, table, training):
        """(scale, offset) on the table; the state follows what is fused."""
        layer, averages = self.layer, self.area.over(table)
        shift, spread = self.operation.measure(table, averages, layer.epsilon)
        if self.prediction is not None:
            mean, variance = self.prediction
            shift, spread = fused(
                shift,
                spread,
                (mean - averages.base, variance),
                ops.cast(layer.keep_weight, averages.dtype),
                layer.max_ratio,
            )
        layer.statistics.follow(layer, shift, spread, averages)
        self.found = self.reported(averages, shift, spread)
        rate = self.operation.rate(spread, layer.epsilon)
        return elementwise.factors(
            table, averages, Selected(shift, spread), rate
        )

    def reported(self, averages, shift, spread):
        """Absolute statistics; of what saw nothing the state's."""
        values, seen = (averages.base + shift, spread), averages.seen
        if seen is not True:
            names = (f"moving_{n}" for n in self.operation.names)
            kept = [
                snapshot(compact(getattr(self.layer, n), averages.dtype))
                for n in names
            ]
            values = tuple(
                ops.where(seen, t, old)
                for t, old in zip(values, kept, strict=True)
            )
        return tuple(ops.reshape(t, (-1,)) for t in values)


def normalize(layer, x, prediction, training, mask):
    """(y, mean, variance) of one call."""
    call = KalmanCall(layer, prediction)

    def recover(scale, offset):
        return layer.recovery.fold(layer, scale, offset)

    y = elementwise.normalize_over(call, x, layer.axis, training, mask, recover)
    return y, *call.found
