"""Copies of models whose batch normalization weighs in the example."""

import numpy as np
from keras import layers as keras_layers
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core.frozen import FrozenAffine
from keras_norm.core.model_copies import check
from keras_norm.core.model_copies import cloned
from keras_norm.core.model_copies import copied
from keras_norm.core.model_copies import copy_variables
from keras_norm.core.model_copies import leaves
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Standardize
from keras_norm.core.recoveries import Affine
from keras_norm.layers.area.batch_normalization import BatchNormalization
from keras_norm.models.example_weighing import ExampleWeighedBatchNormalization
from keras_norm.models.layer_calls import assign
from keras_norm.models.layer_calls import host
from keras_norm.models.model_layers import STEPS
from keras_norm.models.model_layers import per_channel
from keras_norm.models.model_layers import regular


def fits(layer) -> bool:
    """Is the layer batch normalization in inference?"""
    if isinstance(layer, ComposedNormalization):
        standard = type(layer.operation) is Standardize
        affine = type(layer.recovery) in (Affine, FrozenAffine)
        plain = regular(layer, (*STEPS, "call"))
        if not (standard and affine and plain):
            return False
    elif not isinstance(layer, keras_layers.BatchNormalization):
        return False
    return per_channel(layer)


def weighed_copy(model, mean_weight, variance_weight, layers=None):
    """A copy with `ExampleWeighedBatchNormalization` in place of such layers.

    Args:
        model: a built Sequential or functional model.
        mean_weight: share of the example in the mean.
        variance_weight: share of the example in the variance.
        layers: names of the layers; None: all.
    """
    check(model)
    weights = {"mean_weight": mean_weight, "variance_weight": variance_weight}
    names = [layer.name for layer in leaves(model) if fits(layer)]
    layers = [layers] if isinstance(layers, str) else layers
    for name in layers or ():
        if name not in names:
            raise errors.unknown_name("layers", name, names)
    if not names:
        raise errors.received(
            "`model` must have batch normalization.",
            layers=[layer.name for layer in leaves(model)],
        )

    def clone(layer):
        chosen = layers is None or layer.name in layers
        if not fits(layer) or not chosen:
            return copied(layer)
        made = ExampleWeighedBatchNormalization(**options(layer), **weights)
        made.build_from_config(layer.get_build_config())
        return made

    made, pairs = cloned(model, clone)
    for old, new in pairs:
        if isinstance(new, ExampleWeighedBatchNormalization) and fits(old):
            take(old, new)
        else:
            copy_variables(old.variables, new.variables)
    return made


def options(layer):
    """What plain batch normalization knows of a layer's config."""
    config = layer.get_config()
    names = configuration.arguments(BatchNormalization)
    names = [n for n in names if not n.startswith("renorm")]
    names += ["name", "dtype", "trainable"]
    found = {n: config[n] for n in names if config.get(n) is not None}
    axis = found.get("axis", -1)
    return {**found, "axis": int(np.ravel(axis)[0])}


def take(old, new):
    """The weights of another batch normalization."""
    for name in ("gamma", "beta", "moving_mean"):
        if getattr(old, name, None) is not None:
            getattr(new, name).assign(ops.copy(getattr(old, name)))
    if getattr(old, "moving_variance", None) is not None:
        new.moving_variance.assign(ops.copy(old.moving_variance))
    else:
        variance = np.square(host(old.moving_stddev)) - old.epsilon
        assign(new.moving_variance, np.maximum(variance, 0.0))


def check_weight(name, value):
    """A share in [0, 1]."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not known or not 0 <= value <= 1:
        raise errors.received(
            f"`{name}` is the share of the example and must lie in [0, 1].",
            **{name: value},
        )
    return float(value)
