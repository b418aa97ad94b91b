"""Weight parametrizations of whole models: on, off, and weights from outside.

Each function makes a new model and leaves the given one as it is.
"""

import os
from collections.abc import Callable

import keras

from keras_norm import errors
from keras_norm.core import kernels
from keras_norm.core.model_copies import check
from keras_norm.core.model_copies import cloned
from keras_norm.core.model_copies import copied
from keras_norm.core.model_copies import copy_variables
from keras_norm.core.model_copies import leaves
from keras_norm.core.parametrization import WeightParametrization

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
    wrapped: dict = {}

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
        wrapper.trainable = layer.trainable
        wrapped[id(wrapper)] = layer.name
        return wrapper

    made, pairs = cloned(model, clone)
    if not wrapped:
        raise errors.received(
            "`where` must select at least one layer.",
            layers=[layer.name for layer in leaves(model)],
        )
    for old, new in pairs:
        if id(new) in wrapped:
            copy_variables(values_of(old), new.plain_layer().variables)
            new.adopt()
        else:
            copy_variables(old.variables, new.variables)
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


def values_of(layer):
    """Values of the variables of a layer, or of what a wrapper makes of it."""
    wrapper = isinstance(layer, WeightParametrization)
    return layer.plain_values() if wrapper else layer.variables


def without(model):
    """(a model of plain layers with weights of its own, pairs of layers)."""
    check(model)

    def clone(layer):
        if not isinstance(layer, WeightParametrization):
            return copied(layer)
        plain = copied(layer.plain_layer())
        plain.name = layer.name
        return plain

    made, pairs = cloned(model, clone)
    left = [
        layer.name
        for layer in made._flatten_layers()
        if isinstance(layer, WeightParametrization)
    ]
    if left:
        raise errors.received(
            "Parametrizations must not be inside other layers.",
            "Wrap the TimeDistributed or the layer of your own instead of the "
            "layer within it.",
            inside=left,
        )
    return made, pairs


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
