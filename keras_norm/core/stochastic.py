"""Statistics that are random numbers: inference draws them."""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Weight
from keras_norm.core.statistics import compact
from keras_norm.core.statistics import move

INFERENCE = ("sample", "moving", "batch")
# Added to the variance before its logarithm.
LOG_EPSILON = 1e-6


@keras.saving.register_keras_serializable("keras_norm")
class Stochastic(MovingAverage):
    """Training: the batch. Inference: moments drawn from what batches had.

    mean ~ N(m, m2 - m^2) and log variance ~ N(l, l2 - l^2), with the moving
    averages m, m2, l, l2 of the batches' mean, its square, the logarithm of
    their variance and its square. The layer draws by its `seed_generator`.

    Args:
        momentum: fraction kept.
        inference: "sample" as above; "moving": m and exp(l). The layer may
            use the "batch".
    """

    names = (
        "moving_mean",
        "moving_squared_mean",
        "moving_log_variance",
        "moving_squared_log_variance",
    )

    def __init__(self, momentum=0.9, inference="sample"):
        super().__init__(momentum)
        if inference not in INFERENCE:
            raise errors.unknown_name("inference", inference, list(INFERENCE))
        self.inference = inference

    def weights(self, operation, shapes) -> list:
        """The four averages, from 0."""
        mean, variance = shapes()
        sizes = (mean, mean, variance, variance)
        return [
            Weight(name, shape, "zeros")
            for name, shape in zip(self.names, sizes, strict=True)
        ]

    def measures(self, training) -> bool:
        """Does anything come of the batch?"""
        return training or self.inference == "batch"

    def follow(self, layer, shift, spread, averages, momentum=None) -> None:
        """Move all four averages."""
        mean, variance = self.stored(layer, shift, spread, averages)
        logarithm = ops.log(variance + LOG_EPSILON)
        values = (mean, ops.square(mean), logarithm, ops.square(logarithm))
        for name, value in zip(self.names, values, strict=True):
            move(getattr(layer, name), value, averages.seen, self.momentum)

    def state(self, layer, dtype):
        """(mean, variance), drawn or at their centers."""
        m, m2, log, log2 = (
            compact(getattr(layer, n), dtype) for n in self.names
        )
        if self.inference == "sample":
            of_mean, of_log = self.noise(layer, m, log)
            m = m + of_mean * self.deviation(m, m2)
            log = log + of_log * self.deviation(log, log2)
        return m, ops.exp(log)

    def noise(self, layer, *like):
        """Standard normal numbers of these shapes."""
        return [
            keras.random.normal(
                ops.shape(t), dtype=t.dtype, seed=layer.seed_generator
            )
            for t in like
        ]

    def deviation(self, mean, second):
        """Root of E[t^2] - E[t]^2, 0 where that is no more than rounding.

        Squares are stored: of a mean of 1e4 they are known to 8. What is lost
        must not come back as noise.
        """
        wide = keras.backend.standardize_dtype(second.dtype) == "float64"
        unit = 2.0**-53 if wide else 2.0**-24
        variance = second - ops.square(mean)
        variance = ops.where(variance > 16.0 * unit * second, variance, 0.0)
        return ops.sqrt(variance)
