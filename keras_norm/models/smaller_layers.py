"""Layers of the same kind for fewer channels."""

from typing import Any

import keras

from keras_norm.core.freezing import FLAGS
from keras_norm.core.freezing import Freezable
from keras_norm.core.substitution import substituted
from keras_norm.models.layer_calls import assign


def remade(layer, config, shape, values) -> Any:
    """A layer like another, built for another shape.

    Args:
        layer: the other.
        config: the config of the new one.
        shape: what it is built for.
        values: {name of a weight: its value}; a bias of 0 may be given to a
            layer that has none.
    """
    new = type(layer).from_config(config)
    # Of Keras' name scopes: variables keep their paths.
    new._parent_path = layer._parent_path
    if not new.built:
        # What is drawn would be overwritten; on JAX every shape costs.
        zeros = keras.initializers.Zeros()
        drawn = [n for n in vars(new) if n.endswith("_initializer")]
        with substituted([(new, name, zeros) for name in drawn]):
            new.build(shape)
    old = {v.name: v for v in layer.weights}
    new._trainable = layer._trainable
    if isinstance(layer, Freezable):
        for name in FLAGS:
            setattr(new, name, getattr(layer, name))
    for variable in new.weights:
        assign(variable, values[variable.name])
        if variable.name in old:
            variable.trainable = old[variable.name].trainable
    seeds = zip(layer._seed_generators, new._seed_generators, strict=True)
    for a, b in seeds:
        b.state.assign(keras.ops.convert_to_numpy(a.state))
    return new
