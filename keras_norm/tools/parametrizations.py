"""Weight parametrizations of whole models: on, off, and weights from outside.

Each function makes a new model and leaves the given one as it is.
"""

import inspect
import os
from collections.abc import Callable

import keras

from keras_norm import errors
from keras_norm.core import kernels
from keras_norm.core.parametrization import WeightParametrization
from keras_norm.core.substitution import substituted

Where = Callable[[keras.layers.Layer], bool]


def reparameterize(
    model: keras.Model,
    map: Callable[[keras.layers.Layer], WeightParametrization],
    where: Where | type | tuple | list | None = None,
) -> keras.Model:
    """A copy of `model` in which layers are wrapped by a parametrization.

    Weights are copied; the wrapped layers take theirs through the right
    inverse of the map, so that the function stays what it was where the map
    can give it. A wrapper has the name of its layer. The copy is not
    compiled.

    Args:
        model: a built Sequential or functional model; nested ones are
            followed.
        map: what wraps a layer: a class such as
            `keras_norm.layers.SpectralNormalization`, or a function of the
            layer that returns a wrapper.
        where: which layers: a function of the layer, a class or several, or a
            list of names. None: all layers of Keras that have kernels.

    Returns:
        A model.

    Raises:
        ValueError: a subclassed or unbuilt model, no layer found, a name that
            no layer has.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential(
    ...     [keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    >>> bounded = kn.tools.reparameterize(
    ...     model, kn.layers.SpectralNormalization)
    >>> [type(layer).__name__ for layer in bounded.layers]
    ['SpectralNormalization', 'SpectralNormalization']
    """
    check(model)
    wanted = selection(model, where)
    wrapped = []

    def clone(layer):
        copy = copied(layer)
        if not wanted(layer):
            return copy
        wrapper = map(copy)
        if not isinstance(wrapper, WeightParametrization):
            raise errors.received(
                "`map` must return a weight parametrization.",
                "Give one of keras_norm.layers, for example "
                "WeightNormalization.",
                returned=wrapper,
            )
        wrapper.name = layer.name
        wrapped.append(layer.name)
        return wrapper

    made, pairs = cloned(model, clone)
    if not wrapped:
        raise errors.received(
            "`where` must select at least one layer.",
            layers=[layer.name for layer in leaves(model)],
        )
    for old, new in pairs:
        taken = new.layer if new.name in wrapped else new
        copy_variables(old.variables, taken.variables)
        if taken is not new:
            new.adopt()
    return made


def remove_parametrizations(model: keras.Model) -> keras.Model:
    """A copy of `model` whose layers are plain, with their effective kernels.

    What it computes at inference is the same; the graph has nothing of the
    parametrizations any more. The given model stays as it is.

    Args:
        model: a built Sequential or functional model; nested ones are
            followed.

    Returns:
        A model, not compiled.

    Raises:
        ValueError: a subclassed or unbuilt model; a parametrization that does
            more than its kernel.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> layer = kn.layers.WeightNormalization(keras.layers.Dense(4))
    >>> model = keras.Sequential([keras.Input((8,)), layer])
    >>> plain = kn.tools.remove_parametrizations(model)
    >>> [type(layer).__name__ for layer in plain.layers]
    ['Dense']
    """
    made, pairs = without(model)
    for old, new in pairs:
        wrapped = isinstance(old, WeightParametrization)
        values = old.plain_values() if wrapped else old.variables
        copy_variables(values, new.variables)
    return made


def load_plain_weights(model: keras.Model, filepath: str) -> None:
    """Load a `.weights.h5` of the plain model into one with parametrizations.

    The wrapped layers take their weights through the right inverse.

    Args:
        model: a built Sequential or functional model with parametrizations.
        filepath: weights of the same model without them.

    Raises:
        ValueError: the file is of another model; `model` stays as it was.
    """
    plain, pairs = without(model)
    plain.load_weights(os.fspath(filepath))
    for old, new in pairs:
        if isinstance(old, WeightParametrization):
            copy_variables(new.variables, old.plain_layer().variables)
            old.adopt()
        else:
            copy_variables(new.variables, old.variables)


def without(model):
    """(a model of plain layers with weights of its own, pairs of layers)."""
    check(model)

    def clone(layer):
        if not isinstance(layer, WeightParametrization):
            return copied(layer)
        plain = copied(layer.plain_layer())
        plain.name = layer.name
        return plain

    return cloned(model, clone)


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


def selection(model, where):
    """`where` as a function of a layer."""
    if where is None:
        return kernels.known
    if isinstance(where, str):
        where = [where]
    if isinstance(where, type):
        return lambda layer: isinstance(layer, where)
    if callable(where):
        return where
    if all(isinstance(entry, type) for entry in where):
        return lambda layer: isinstance(layer, tuple(where))
    names = [layer.name for layer in leaves(model)]
    for name in where:
        if name not in names:
            raise errors.unknown_name("where", name, names)
    return lambda layer: layer.name in where


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
