"""What activations do with channels."""

import keras
import numpy as np

from keras_norm.models.channel_rules import Through
from keras_norm.models.layer_calls import host
from keras_norm.models.smaller_layers import remade

# Activations of a tensor's entries, each for itself, by their names.
ELEMENTWISE = frozenset(
    """celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh
    leaky_relu linear log_sigmoid mish relu relu6 selu sigmoid silu soft_shrink
    softplus softsign sparse_plus sparse_sigmoid squareplus tanh tanh_shrink
    threshold""".split()
)
# Of these, those with f(a x) = a f(x) for a > 0.
HOMOGENEOUS = frozenset(("linear", "relu", "leaky_relu"))


def activation_name(function) -> str | None:
    """The name of an activation of Keras; None for any other function."""
    name = getattr(function, "__name__", None)
    own = getattr(keras.activations, name or "", None) is function
    return name if own else None


def coupling(function) -> bool:
    """May an activation make an entry depend on others?"""
    return function is not None and activation_name(function) not in ELEMENTWISE


class ParametricReLU(Through):
    """x, or alpha x below 0."""

    homogeneous = True

    def connect(self, channels, call, places):
        own = super().connect(channels, call, places)
        if own is None:
            return None
        if self.ids_in is not None:
            channels.tie(self.ids_in, own.ids, self.layer.name)
        self.ids_in = own.ids
        # Shared alphas have a size of 1 along their axes.
        self.axis = own.axis - 1
        self.own = self.layer.alpha.shape[self.axis] == len(own)
        return own

    def constants(self, call, values, made):
        alpha = np.moveaxis(host(self.layer.alpha), self.axis, -1)
        alpha = alpha.reshape(-1, alpha.shape[-1])
        # At all positions the same?
        alpha = np.where(np.ptp(alpha, axis=0) == 0, alpha[0], np.nan)
        x = values[0]
        return np.where(x >= 0, x, alpha * x)

    def smaller(self, keep, call, shift=None):
        kept = keep["ids_in"]
        if kept.all() or not self.own:
            return None
        shape = list(call.inputs[0].shape)
        shape[self.axis + 1] = int(kept.sum())
        alpha = np.compress(kept, host(self.layer.alpha), self.axis)
        config = self.layer.get_config()
        return remade(self.layer, config, tuple(shape), {"alpha": alpha})
