"""Sums of normalized groups of channels.

Luo et al., 2020, https://arxiv.org/abs/2005.06828
"""

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import elementwise
from keras_norm.core.areas import Area
from keras_norm.core.layer import positive
from keras_norm.core.operations import Standardize
from keras_norm.core.recoveries import Affine
from keras_norm.core.statistics import Selected
from keras_norm.core.statistics import move


@keras.saving.register_keras_serializable("keras_norm")
class GroupSum(Affine):
    """y = sum_g gamma_g x_g + beta: groups of channels become one.

    Args:
        groups: of consecutive channels.
    """

    def __init__(self, groups):
        positive("groups", groups)
        self.groups = groups

    def build(self, layer, channels, condition_shape=None) -> None:
        """Create gamma (groups, C) and beta (C,)."""
        if channels % self.groups:
            raise errors.groups_must_divide(self.groups, channels)
        width = channels // self.groups
        if layer.scale:
            layer.add_option("gamma", (self.groups, width))
        if layer.center:
            layer.add_option("beta", (width,))

    def fold(self, layer, scale, offset, condition=None):
        """Multiply by gamma."""
        if layer.gamma is not None:
            gamma = ops.cast(layer.gamma, scale.dtype)
            gamma = ops.reshape(gamma, (1, -1))
            scale, offset = scale * gamma, offset * gamma
        return scale, offset

    def apply(self, layer, y, condition=None):
        """Add up the groups, add beta."""
        axis = layer.axis % len(y.shape)
        shape = ops.shape(y)
        width = y.shape[axis] // self.groups
        split = (*shape[:axis], self.groups, width, *shape[axis + 1 :])
        y = ops.sum(ops.reshape(y, split), axis=axis)
        if layer.beta is None:
            return y
        view = [1] * len(y.shape)
        view[axis] = width
        return y + ops.reshape(ops.cast(layer.beta, y.dtype), view)


class OriginCall:
    """What `elementwise` asks of a layer that lacks an origin, in training.

    Batch normalization of h - origin; the moving mean is that of h.

    Args:
        layer: its options and state.
        origin: (C,), no gradient; one for all replicas.
    """

    lifts = True
    operation = Standardize()

    def __init__(self, layer, origin):
        self.layer, self.origin = layer, origin
        self.area = Area(synchronized=layer.synchronized)

    def measures(self, training):
        """Always."""
        return True

    def factors(self, table, training):
        """(scale, offset) on the table; the state moves."""
        layer, averages = self.layer, self.area.over(table)
        shift, spread = self.operation.measure(table, averages, layer.epsilon)
        absolute = averages.base + shift + self.origin
        move(layer.moving_mean, absolute, averages.seen, layer.momentum)
        move(layer.moving_variance, spread, averages.seen, layer.momentum)
        rate = self.operation.rate(spread, layer.epsilon)
        selected = Selected(shift, spread)
        return elementwise.factors(table, averages, selected, rate)
