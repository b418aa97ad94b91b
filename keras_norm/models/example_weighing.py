"""Batch normalization whose inference weighs in the example itself.

    mean = a mean_i + (1 - a) moving_mean
    variance = b variance_i + (1 - b) moving_variance
               + a (1 - a) (mean_i - moving_mean)^2

with the moments i of each instance over its positions. For a = b these are
the moments of the mixture: variance = a E_i[x^2] + (1 - a) (moving_variance +
moving_mean^2) - mean^2.
"""

import keras
from keras import ops

from keras_norm.core.areas import Area
from keras_norm.core.operations import mean_and_variance
from keras_norm.layers.area.batch_normalization import BatchNormalization

INSTANCE = Area("each", "each")


@keras.saving.register_keras_serializable("keras_norm")
class ExampleWeighedBatchNormalization(BatchNormalization):
    """See the module; in training plain batch normalization.

    Args:
        mean_weight: a, in [0, 1]. 0 for both is batch normalization, 1
            instance normalization.
        variance_weight: b, in [0, 1].
        **kwargs: see `BatchNormalization`.

    Both weights are non-trainable weights of the layer.
    """

    # A table of one instance would not know the samples.
    lifts = False

    def __init__(self, mean_weight=0.0, variance_weight=0.0, **kwargs):
        super().__init__(**kwargs)
        self.mean_weight, self.variance_weight = mean_weight, variance_weight
        self.initial = mean_weight, variance_weight

    def build_state(self, channels):
        """The moving averages, then the weights of the example."""
        super().build_state(channels)
        for name in ("mean_weight", "variance_weight"):
            value = keras.initializers.Constant(getattr(self, name))
            self.add_state(name, (), value)

    def measures(self, training):
        """The example is always looked at."""
        return True

    def factors(self, table, training, area=None):
        """By the mixture of the instance and the state."""
        if training:
            return super().factors(table, training, area)
        averages = INSTANCE.over(table)
        dtype = averages.dtype
        a = ops.cast(self.mean_weight, dtype)
        b = ops.cast(self.variance_weight, dtype)
        mean, variance = mean_and_variance(table, averages)
        kept_mean, kept_variance = self.statistics.state(self, dtype)
        # Relative to the base, like the instance's.
        apart = mean - (kept_mean - averages.base)
        if table.count is not None:
            # Of what saw nothing, nothing.
            seen = ops.cast(table.count > 0, dtype)
            a, b = a * seen, b * seen
        shift = mean - (1.0 - a) * apart
        spread = b * variance + (1.0 - b) * kept_variance
        spread = spread + a * (1.0 - a) * ops.square(apart)
        rate = self.operation.rate(spread, self.epsilon)
        return rate, (averages.relative_pivot - shift) * rate

    def get_config(self):
        """The weights as they were given; as they are, they are weights."""
        a, b = self.initial
        own = {"mean_weight": a, "variance_weight": b}
        return {**super().get_config(), **own}
