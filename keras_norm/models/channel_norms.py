"""What normalization of each channel for itself does with channels."""

from typing import Any

import keras
import numpy as np

from keras_norm import layers
from keras_norm.models.channel_rules import Through
from keras_norm.models.layer_calls import host
from keras_norm.models.smaller_layers import remade

# Exactly these: a class of one's own may do anything. With a gamma of 0 the
# output is beta, whatever the statistics are.
KINDS: tuple[type, ...] = (
    keras.layers.BatchNormalization,
    layers.BatchNormalization,
    layers.BatchRenormalization,
    layers.FrozenBatchNormalization,
    layers.FullNormalization,
    layers.GhostBatchNormalization,
    layers.InstanceNormalization,
    layers.MomentumBatchNormalization,
    layers.StochasticBatchNormalization,
)
# Those that infer by (x - moving_mean) times a factor.
WITH_MEAN = (
    keras.layers.BatchNormalization,
    layers.BatchNormalization,
    layers.FrozenBatchNormalization,
)
PLAIN = {"gamma", "beta", "moving_mean", "moving_variance"}


def per_channel(layer) -> bool:
    """Is it of a kind that treats each channel for itself?"""
    return type(layer) in KINDS


def scaled(layer) -> bool:
    """Has it a gamma for each channel that prunes?"""
    return per_channel(layer) and gamma_of(layer) is not None


def gamma_of(layer) -> Any:
    """The variable gamma, or None."""
    return getattr(layer, "gamma", None)


class Affine(Through):
    """gamma times what is normalized, plus beta."""

    def __init__(self, layer):
        super().__init__(layer)
        self.axis = -1

    def connect(self, channels, call, places):
        axis = self.layer.axis
        axis = axis[0] if isinstance(axis, (list, tuple)) else axis
        own = places[0]
        if own.axis != axis % len(call.inputs[0].shape):
            return None
        if self.ids_in is not None:
            channels.tie(self.ids_in, own.ids, self.layer.name)
        self.ids_in, self.axis = own.ids, own.axis
        weights = {tuple(w.shape) for w in self.layer.weights}
        if not weights <= {(), (len(own),)}:
            self.refuse(channels, [own], "keeps a state of another shape")
        return own

    @property
    def size(self) -> int:
        """The number of channels."""
        return next(w.shape[0] for w in self.layer.weights if w.shape)

    @property
    def prunes(self) -> bool:
        """Are there gammas to mask, of known channels?"""
        return self.ids_in is not None and gamma_of(self.layer) is not None

    def gammas(self) -> np.ndarray:
        """The gammas in float64."""
        return host(self.layer.gamma)

    def masked(self, masked, zero_beta) -> np.ndarray:
        """Constants of the output where gammas are 0; NaN elsewhere."""
        beta = getattr(self.layer, "beta", None)
        constant = np.zeros(len(masked)) if beta is None else host(beta)
        constant = np.where(zero_beta, 0.0, constant)
        return np.where(masked, constant, np.nan)

    def takes_shift(self) -> bool:
        """Can a constant in its input go into the mean that it takes off?"""
        names = {w.name for w in self.layer.weights}
        return type(self.layer) in WITH_MEAN and names <= PLAIN

    def smaller(self, keep, call, shift=None, masked=None, zero_beta=None):
        """Fewer channels, some of them with gammas or betas of 0.

        Args:
            keep: see `Rule.smaller`.
            call: one call.
            shift: what to take off the moving mean.
            masked: gammas that become 0.
            zero_beta: those whose betas do, too.
        """
        kept = keep["ids_in"]
        if kept.all() and masked is None and shift is None:
            return None
        values = {w.name: host(w) for w in self.layer.weights}
        if masked is not None:
            values["gamma"] = np.where(masked, 0.0, values["gamma"])
            if "beta" in values:
                zero = masked & zero_beta
                values["beta"] = np.where(zero, 0.0, values["beta"])
        if shift is not None:
            values["moving_mean"] = values["moving_mean"] - shift
        values = {n: v[kept] if v.ndim else v for n, v in values.items()}
        shape = list(call.inputs[0].shape)
        shape[self.axis] = int(kept.sum())
        config = self.layer.get_config()
        return remade(self.layer, config, tuple(shape), values)
