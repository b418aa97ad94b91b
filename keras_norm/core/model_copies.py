"""Copies of Sequential and functional models, layer by layer."""

import inspect

import keras

from keras_norm import errors
from keras_norm.core.substitution import substituted


def check(model):
    """Refuse models that cannot be cloned."""
    graph = hasattr(model, "get_layer") and hasattr(model, "_layers")
    subclassed = not isinstance(model, keras.Sequential) and not hasattr(
        model, "operations"
    )
    if not graph or subclassed:
        raise errors.received(
            "`model` must be a Sequential or functional model.",
            "Wrap the layers of a subclassed model where it makes them.",
            model=model,
        )
    if not model.built:
        raise errors.received(
            "`model` must be built.",
            "Give it a `keras.Input`, or call `model.build(input_shape)`.",
            model=model.name,
        )


def leaves(model):
    """The layers of a model and of the models within it."""
    found: list = []
    for layer in model.layers:
        found += leaves(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def copied(layer):
    """A new layer of the same config, built if this one is."""
    copy = type(layer).from_config(layer.get_config())
    if layer.built and not copy.built:
        copy.build_from_config(layer.get_build_config() or {})
    return copy


def cloned(model, function):
    """(a clone, [(layer, its clone)]) by a function of each layer."""
    pairs = []

    def clone(layer):
        if not isinstance(layer, keras.layers.Layer):
            # A bare operation of keras.ops.
            return type(layer).from_config(layer.get_config())
        copy = function(layer)
        pairs.append((layer, copy))
        return copy

    options = (
        {} if isinstance(model, keras.Sequential) else {"call_function": call}
    )
    # Keras would compile the clone from a config, which knows no function of
    # the user's that is not registered.
    with substituted([(m, "compiled", False) for m in models(model)]):
        made = keras.models.clone_model(
            model, clone_function=clone, recursive=True, **options
        )
    return made, pairs


def models(model):
    """The model and the models within it."""
    inner = (m for m in model.layers if isinstance(m, keras.Model))
    return [model, *(found for m in inner for found in models(m))]


def call(layer, *args, **kwargs):
    """Call a clone with what the graph has recorded of another layer's call.

    A wrapper's call has a mask and `training`, which not every layer takes.
    """
    if isinstance(layer, keras.layers.Layer):
        takes = inspect.signature(layer.call).parameters
        every = any(p.kind is p.VAR_KEYWORD for p in takes.values())
        kwargs = {n: v for n, v in kwargs.items() if every or n in takes}
    return layer(*args, **kwargs)


def copy_variables(source, target):
    """Give variables the values of others, or of tensors."""
    for old, new in zip(source, target, strict=True):
        # Not the same array: on JAX, Keras gives that away when it trains.
        new.assign(keras.ops.copy(old))
