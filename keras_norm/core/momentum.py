"""Moving averages that normalize in training, others in inference."""

import keras
from keras import ops

from keras_norm.core.distribution import concrete
from keras_norm.core.state import snapshot
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import Weight
from keras_norm.core.statistics import compact
from keras_norm.core.statistics import move


@keras.saving.register_keras_serializable("keras_norm")
class MomentumAverage(MovingAverage):
    """Training: lam * state + (1 - lam) * batch normalizes and is the state.

    The gradient is that of the batch's share. Inference has moving averages of
    its own, by the fraction tau. Both fractions are weights: `training_
    momentum` (lam, 0 at first) and `moving_momentum` (tau).

    Args:
        momentum: initial tau.
    """

    # Tau as the schedule last said: what a step that is being compiled knows.
    told: float | None = None

    def acting_momentum(self, layer) -> float:
        """Tau, which a schedule may have moved."""
        tau = concrete(layer.moving_momentum, float)
        if tau is None:
            return self.momentum if self.told is None else self.told
        # The weight holds it in float32.
        return round(tau, 6)

    def weights(self, operation, shapes) -> list:
        """The two fractions, the averages of training, those of inference."""
        moving = super().weights(operation, shapes)
        training = [
            w._replace(name=w.name.replace("moving_", "training_"))
            for w in moving
        ]
        tau = keras.initializers.Constant(self.momentum)
        return [
            Weight("training_momentum", (), "zeros"),
            Weight("moving_momentum", (), tau),
            *training,
            *moving,
        ]

    def select(self, layer, shift, spread, averages) -> Selected:
        """The updated averages of training; those of inference follow."""
        dtype, seen = averages.dtype, averages.seen
        lam = ops.cast(layer.training_momentum, dtype)
        tau = ops.cast(layer.moving_momentum, dtype)
        base = averages.merged(averages.base)
        absolute = self.stored(layer, shift, spread, averages)
        used = []
        for name, value, kept, origin in zip(
            layer.operation.names,
            (shift, spread),
            absolute,
            (base, 0.0),
            strict=True,
        ):
            if not name:
                used.append(value)
                continue
            old = getattr(layer, f"training_{name}")
            # The state's mean relative to the base, like the batch's.
            held = snapshot(compact(old, dtype))
            held = ops.stop_gradient(held - origin)
            used.append((1.0 - lam) * value + lam * held)
            move(old, kept, seen, lam)
            move(getattr(layer, f"moving_{name}"), kept, seen, tau)
        return Selected(*used)
