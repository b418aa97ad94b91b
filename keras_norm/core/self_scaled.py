"""A recovery on the data: each entry scaled by itself, without gradient.

Xu, Sun, Zhang, Zhao & Lin, 2019, https://arxiv.org/abs/1911.07013
"""

import keras
from keras import ops

from keras_norm.core.layer import finite
from keras_norm.core.operations import Standardize
from keras_norm.core.operations import rate_outside
from keras_norm.core.recoveries import Nothing


@keras.saving.register_keras_serializable("keras_norm")
class StandardizeByDeviation(Standardize):
    """y = (x - mean) / (sqrt(variance) + epsilon).

    Args:
        unbiased: divide the variance by m - 1 instead of m.
    """

    epsilon_outside = True

    def rate(self, spread, epsilon):
        """1 / (sqrt(variance) + epsilon)."""
        return rate_outside(spread, epsilon)


@keras.saving.register_keras_serializable("keras_norm")
class SelfScaled(Nothing):
    """y = multiplier * (1 - k * x) * x, the bracket without gradient.

    Args:
        multiplier: a constant factor.
        k: how much large entries are lowered; |k x| should be below 1.
    """

    def __init__(self, multiplier=1.0, k=0.1):
        self.multiplier = finite("multiplier", multiplier)
        self.k = finite("k", k)

    def apply(self, layer, y, condition=None):
        """The data times their detached factor."""
        bracket = ops.stop_gradient(1.0 - self.k * y)
        return self.multiplier * bracket * y
