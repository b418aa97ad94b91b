"""What is measured and how it normalizes (the survey's operation).

An elementwise operation measures a shift and a spread of every part and turns
the spread into a rate: y = (x - shift) * rate. Shifts are relative to the base
of the area; see `moments`.
"""

import keras
from keras import ops

from keras_norm.core import configuration
from keras_norm.core.moments import bessel


class Operation(configuration.Part):
    """Base of the elementwise operations.

    Attributes:
        names: names of shift and spread, None for what is not used; the state
            of moving averages is called moving_<name>.
        initial: initializers of that state.
        centred: False measures the moments about zero.
    """

    family = "elementwise"
    names: tuple = ("mean", "variance")
    initial: tuple = ("zeros", "ones")
    centred = True

    def measure(self, table, averages, epsilon):
        """(shift, spread), compact; None for what is not used."""
        raise NotImplementedError

    def rate(self, spread, epsilon):
        """The factor that normalizes, from the spread; None for 1."""
        raise NotImplementedError

    def build(self, layer, channels):
        """Create what is kept besides the state of shift and spread."""

    def state_shapes(self, area, channels):
        """Shapes of shift and spread as state."""
        return (area.statistic_shape(channels),) * 2


def mean_and_variance(table, averages):
    """Mean relative to the base and biased variance of every part."""
    relative = averages.relative_means
    mean = averages.mean(relative)
    return mean, averages.variance(relative, mean)


def rate_outside(spread, epsilon):
    """1 / (sqrt(spread) + epsilon)."""
    # max: the root has an infinite gradient at 0.
    return 1.0 / (ops.sqrt(ops.maximum(spread, 1e-30)) + epsilon)


@keras.saving.register_keras_serializable("keras_norm")
class Standardize(Operation):
    """y = (x - mean) / sqrt(variance + epsilon).

    Args:
        unbiased: divide the variance by m - 1 instead of m.
    """

    def __init__(self, unbiased=False):
        self.unbiased = unbiased

    def measure(self, table, averages, epsilon):
        """Mean and variance."""
        mean, variance = mean_and_variance(table, averages)
        if self.unbiased:
            variance = bessel(variance, averages.entries)
        return mean, variance

    def rate(self, spread, epsilon):
        """1 / sqrt(variance + epsilon)."""
        return ops.rsqrt(spread + epsilon)


@keras.saving.register_keras_serializable("keras_norm")
class Center(Operation):
    """y = x - mean."""

    names = ("mean", None)

    def measure(self, table, averages, epsilon):
        """The mean."""
        return averages.mean(averages.relative_means), None

    def rate(self, spread, epsilon):
        """Nothing is scaled."""
        return None


@keras.saving.register_keras_serializable("keras_norm")
class Scale(Operation):
    """y = x / sqrt(E[x^2] + epsilon): moments about zero, nothing shifted.

    Args:
        epsilon_outside: y = x / (sqrt(E[x^2]) + epsilon) instead.
    """

    names = (None, "second_moment")
    centred = False

    def __init__(self, epsilon_outside=False):
        self.epsilon_outside = epsilon_outside

    def measure(self, table, averages, epsilon):
        """The second moment."""
        return None, averages.mean(table.variance)

    def rate(self, spread, epsilon):
        """1 / sqrt(second moment + epsilon)."""
        if self.epsilon_outside:
            return rate_outside(spread, epsilon)
        return ops.rsqrt(spread + epsilon)


@keras.saving.register_keras_serializable("keras_norm")
class ScaleByDeviation(Operation):
    """y = x / sqrt(variance + epsilon): scaled, but not centred."""

    names = (None, "variance")

    def measure(self, table, averages, epsilon):
        """The variance about the mean."""
        return None, mean_and_variance(table, averages)[1]

    def rate(self, spread, epsilon):
        """1 / sqrt(variance + epsilon)."""
        return ops.rsqrt(spread + epsilon)
