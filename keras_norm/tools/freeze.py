"""Statistics and affine parameters of a model's normalization, frozen."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import keras

from keras_norm import errors
from keras_norm.core.freezing import FLAGS
from keras_norm.core.freezing import Freezable
from keras_norm.models.model_functions import renewing
from keras_norm.models.model_layers import Found

# Keras' layers with gamma and beta; of these, the first has statistics.
KERAS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)

Layers: TypeAlias = (
    Callable[[keras.layers.Layer], bool] | type | tuple | list | str | None
)


@dataclass(frozen=True)
class FreezeChange:
    """What became of one layer; None: it has no such thing.

    Attributes:
        path: the layer's path in the model.
        layer: name of its class.
        statistics: are its statistics frozen?
        affine: are gamma and beta frozen?
    """

    path: str
    layer: str
    statistics: bool | None
    affine: bool | None

    def __str__(self) -> str:
        """One line."""
        words = {True: "frozen", False: "free"}
        parts = [
            f"{name} {words[value]}"
            for name, value in (
                ("statistics", self.statistics),
                ("affine", self.affine),
            )
            if value is not None
        ]
        return f"{self.path}: {self.layer}, {', '.join(parts)}"


def freeze(
    model: keras.Model,
    statistics: bool | None = True,
    affine: bool | None = None,
    layers: Layers = None,
) -> list[FreezeChange]:
    """Freeze the normalization of a model, or let it go again; in place.

    With frozen statistics a layer computes in training what it does at
    inference: it normalizes by its moving statistics and leaves them as they
    are. gamma and beta are learned on unless `affine` freezes them too.
    `freeze(model, statistics=False)` undoes the one, `freeze(model, None,
    False)` the other.

    Both are in the layers' configs: saved with Sequential and functional
    models, and of their copies. A class of your own that makes its layers
    itself makes them free again when it is loaded, as it does with Keras'
    `trainable`: call this once more then, and compile again.

    Layers of this package have an attribute for each, `freeze_statistics` and
    `freeze_affine`. Keras' have `trainable` alone, which is both in one: batch
    normalization of Keras takes both True or both False. Others that keep
    statistics, as `BatchNormalizedLSTM`, have neither and are refused.

    A model that is compiled goes on with what is frozen. Where the trainable
    weights have changed its optimizer starts anew, but for the count of its
    steps and its loss scale. A model around it must be compiled again.

    Args:
        model: the model; nested ones, wrappers and cells are followed.
        statistics: freeze statistics (True), let them move (False), or leave
            this as it is (None).
        affine: the same of gamma and beta.
        layers: which normalization layers: a function of the layer, a class
            or several, a name or several. None: all.

    Returns:
        What was changed, layer by layer.

    Raises:
        ValueError: a layer of Keras whose statistics and affine parameters
            are to differ; a layer that cannot be frozen; no layer selected, a
            name that no layer has; an optimizer that refuses weights which
            are let go. Nothing is changed then.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> layer = kn.layers.BatchNormalization(name="norm")
    >>> model = keras.Sequential([keras.Input((4,)), layer], name="model")
    >>> for change in kn.tools.freeze(model):
    ...     print(change)
    model/norm: BatchNormalization, statistics frozen, affine free
    >>> len(model.trainable_weights)
    2
    """
    if not isinstance(model, keras.Model):
        raise errors.received("`model` must be a keras.Model.", model=model)
    found = selected(model, layers)
    without = [layer for layer in found if not switched(layer)]
    if without:
        raise errors.received(
            "The layers must be able to leave their statistics as they are; "
            f"{without[0].name!r}, a {type(without[0]).__name__}, is not.",
            "Select others by `layers`, for example by a function of the "
            "layer that is False for these.",
            layers=layers,
            refused=[layer.name for layer in without],
        )
    if not found:
        raise errors.received(
            "The model must have normalization layers"
            + ("." if layers is None else " that `layers` selects."),
            model=model.name,
            layers=layers,
        )
    # All that can go wrong does before anything is changed.
    wanted = [(layer, new_state(layer, statistics, affine)) for layer in found]
    before = [state(layer) for layer in found]
    with unless_error(found), renewing(model):
        for layer, after in wanted:
            set_state(layer, after)
    return [
        FreezeChange(layer.path, type(layer).__name__, *after)
        for (layer, after), was in zip(wanted, before, strict=True)
        if after != was
    ]


def selected(model, layers) -> list:
    """The layers that are meant."""
    kept = Found(model)
    keeping = {id(r.layer) for r in kept.readings} | set(map(id, kept.unknown))
    known = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if (switched(layer) and state(layer) != (None,) * 2)
        or (not switched(layer) and id(layer) in keeping)
    ]
    if layers is None:
        return known
    if isinstance(layers, (str, type)):
        layers = [layers]
    if callable(layers) and not isinstance(layers, keras.layers.Layer):
        return [layer for layer in known if layers(layer)]
    names = [layer.name for layer in known]
    several = isinstance(layers, (list, tuple, set, frozenset))
    if not several or not all(isinstance(e, (str, type)) for e in layers):
        raise errors.received(
            "`layers` must be a name, a class, several of these, or a "
            "function of a layer.",
            f"Names of normalization layers are {names}.",
            layers=layers,
        )
    for entry in layers:
        if not isinstance(entry, type) and entry not in names:
            raise errors.unknown_name("layers", entry, names)
    classes = tuple(entry for entry in layers if isinstance(entry, type))
    return [
        layer
        for layer in known
        if isinstance(layer, classes) or layer.name in layers
    ]


def switched(layer) -> bool:
    """Has it switches that are known?"""
    return isinstance(layer, (Freezable, *KERAS))


@contextlib.contextmanager
def unless_error(layers):
    """Put back what is frozen of layers where the block fails."""
    saved = [
        (
            layer,
            {f: getattr(layer, f) for f in FLAGS if hasattr(layer, f)},
            layer.trainable,
            [(v, v.trainable) for v in layer.variables],
        )
        for layer in layers
    ]
    try:
        yield
    except Exception:
        for layer, flags, trainable, variables in saved:
            for name, value in flags.items():
                setattr(layer, name, value)
            if layer.trainable != trainable:
                layer.trainable = trainable
            for variable, value in variables:
                variable.trainable = value
        raise


def state(layer) -> tuple:
    """(are statistics frozen, are gamma and beta?); None: it has none."""
    if isinstance(layer, Freezable):
        return (
            layer.freeze_statistics if layer.has_statistics() else None,
            layer.freeze_affine if layer.affine_weights() else None,
        )
    frozen = not layer.trainable
    return (
        frozen if isinstance(layer, keras.layers.BatchNormalization) else None,
        frozen if layer._trainable_variables else None,
    )


def new_state(layer, statistics, affine) -> tuple:
    """The state that a layer is to have."""
    after = tuple(
        was if was is None or wanted is None else bool(wanted)
        for was, wanted in zip(state(layer), (statistics, affine), strict=True)
    )
    if not isinstance(layer, Freezable) and set(after) == {True, False}:
        raise errors.received(
            "`statistics` and `affine` must be the same for Keras' layers, "
            f"which have one switch for both: {layer.name!r} is one.",
            "Use the layers that `keras_norm.tools.convert(model, 'ours')` "
            "gives, or both True.",
            statistics=after[0],
            affine=after[1],
        )
    return after


def set_state(layer, after):
    """Set what `state` gives."""
    statistics, affine = after
    was = state(layer)
    if isinstance(layer, Freezable):
        # Setting a switch sets `trainable` of the weights behind it.
        if statistics != was[0]:
            layer.freeze_statistics = statistics
        if affine != was[1]:
            layer.freeze_affine = affine
    elif was != after:
        layer.trainable = not (affine if statistics is None else statistics)
