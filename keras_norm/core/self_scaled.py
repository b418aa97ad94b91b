"""A recovery on the data: each entry scaled by itself, without gradient.

Xu, Sun, Zhang, Zhao & Lin, 2019, https://arxiv.org/abs/1911.07013
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.operations import Standardize
from keras_norm.core.recoveries import Nothing


def finite(name, value):
    """`value` as a float; refuse what is no finite number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not abs(value) < float("inf"):
        raise errors.received(
            f"`{name}` must be a finite number.", **{name: value}
        )
    return float(value)


@keras.saving.register_keras_serializable("keras_norm")
class StandardizeByDeviation(Standardize):
    """y = (x - mean) / (sqrt(variance) + epsilon).

    Args:
        unbiased: divide the variance by m - 1 instead of m.
    """

    epsilon_outside = True

    def rate(self, spread, epsilon):
        """1 / (sqrt(variance) + epsilon)."""
        # max: the root has an infinite gradient at 0.
        return 1.0 / (ops.sqrt(ops.maximum(spread, 1e-30)) + epsilon)


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
