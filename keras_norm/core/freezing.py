"""Statistics and affine parameters of a layer that stay what they are.

Keras has one switch, `trainable`, for both. Here are two more, which every
layer of the package has through `NormalizationLayer`: attributes, saved with
the config where they are set.
"""

import functools
import inspect
from typing import Any

import keras

from keras_norm.core import configuration

# Attributes of a layer, in its config where they are True.
FLAGS = ("freeze_statistics", "freeze_affine")
# The class beside it is Keras'.
_BesideKeras: Any = object


def heeding(call):
    """A layer's `call` that infers where the layer's statistics are frozen."""
    names = list(inspect.signature(call).parameters)
    if "training" not in names:
        return call
    place = names.index("training") - 1

    @functools.wraps(call)
    def heeds(self, *args, **kwargs):
        if self.freeze_statistics:
            # As an argument: TimeDistributed and others use no __call__.
            kwargs["training"] = False
            positional = args[:place]
            after = zip(names[place + 2 :], args[place + 1 :], strict=False)
            return call(self, *positional, **dict(after), **kwargs)
        return call(self, *args, **kwargs)

    return heeds


class Freezable(_BesideKeras):
    """Base of layers with both switches.

    Attributes:
        freeze_statistics: the layer behaves as at inference, whatever
            `training` says: it uses its statistics and does not move them.
            Its trainable weights stay trainable.
        freeze_affine: gamma and beta are not trainable, whatever `trainable`
            says.
    """

    _freeze_statistics = False
    _freeze_affine = False

    def __init_subclass__(cls, **kwargs):
        """Every `call` heeds `freeze_statistics`."""
        super().__init_subclass__(**kwargs)
        if "call" in vars(cls):
            cls.call = heeding(vars(cls)["call"])

    @property
    def freeze_statistics(self) -> bool:
        """Does the layer infer, whatever `training` says?"""
        return self._freeze_statistics

    @freeze_statistics.setter
    def freeze_statistics(self, value):
        self._freeze_statistics = bool(value)
        self._heed_statistics()

    @property
    def freeze_affine(self) -> bool:
        """Are gamma and beta kept from training?"""
        return self._freeze_affine

    @freeze_affine.setter
    def freeze_affine(self, value):
        self._freeze_affine = bool(value)
        self._heed_affine()

    def _heed_affine(self):
        for variable in self.affine_weights():
            variable.trainable = self.trainable and not self._freeze_affine

    def _heed_statistics(self):
        # An optimizer overwrites these by their gradients: zeros on some
        # backends after a step in which they took no part.
        for variable in self.backward_weights():
            variable.trainable = self.trainable and not self._freeze_statistics

    def _post_build(self):
        """Keras' hook after `build`: only now all weights are what they are."""
        if self._freeze_statistics:
            self._heed_statistics()
        super()._post_build()

    @property
    def trainable(self) -> bool:
        """As of all layers; what is frozen stays frozen."""
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        keras.layers.Layer.trainable.fset(self, value)
        self._heed_affine()
        self._heed_statistics()

    def is_affine(self, name) -> bool:
        """Is a weight of that name gamma or beta?

        Of the options `scale` and `center`: some methods call other things
        so. RMS normalization has no such option, and a weight `scale`.
        """
        options = configuration.arguments(type(self))
        if name == "scale":
            return "scale" not in options
        named = {"gamma": "scale", "beta": "center"}
        return named.get(name) in options

    def affine_weights(self) -> list:
        """gamma and beta, where the layer has and learns them."""
        return [w for w in self._trainable_variables if self.is_affine(w.name)]

    def backward_weights(self) -> list:
        """State that the backward pass moves; see `core.backward_state`."""
        return [
            w
            for w in self._trainable_variables
            if getattr(w, "overwrite_with_gradient", False)
        ]

    def has_statistics(self) -> bool:
        """Does the layer keep anything from batch to batch?"""
        return bool(self._non_trainable_variables or self.backward_weights())

    def add_weight(self, *args, **kwargs):
        """A weight; not trainable if it is a gamma or beta that is frozen."""
        weight = super().add_weight(*args, **kwargs)
        if self._freeze_affine and self.is_affine(weight.name):
            weight.trainable = False
        return weight

    def get_config(self):
        """With the switches that are on."""
        on = {name: True for name in FLAGS if getattr(self, name)}
        return {**super().get_config(), **on}

    @classmethod
    def from_config(cls, config):
        """The layer, its switches set."""
        config = dict(config)
        on = {name: config.pop(name, False) for name in FLAGS}
        layer = super().from_config(config)
        for name in FLAGS:
            if on[name]:
                setattr(layer, name, True)
        return layer
