"""The layers of a model that are to be looked at.

Nested models are opened. `layers` may also name what is within other layers,
but not what a recurrent layer runs in a loop.
"""

import keras
from keras.layers import Layer

from keras_norm import errors

LOOPS = (
    keras.layers.RNN,
    keras.layers.Bidirectional,
    keras.layers.TimeDistributed,
)


def channels_first(model) -> bool:
    """Does the first layer that says so have the channels first?"""
    formats = (getattr(x, "data_format", None) for x in model._flatten_layers())
    return next((f for f in formats if f), None) == "channels_first"


def check_model(model):
    """Refuse what is no built model."""
    if not isinstance(model, keras.Model) or not model.built:
        raise errors.received(
            "`model` must be a built Keras model.",
            "Give it a `keras.Input`, or call it on a batch of data.",
            model=model,
        )


def named_layers(model) -> list:
    """(name, layer, is it in models only) of all layers, once each."""
    found: list = []
    seen: set = set()

    def visit(owner, prefix, outer):
        for layer in owner._flatten_layers(include_self=False, recursive=False):
            if id(layer) in seen or isinstance(layer, keras.layers.InputLayer):
                continue
            seen.add(id(layer))
            name = prefix + layer.name
            inner = isinstance(layer, keras.Model)
            if not inner:
                found.append((name, layer, outer))
            if not isinstance(layer, LOOPS):
                visit(layer, f"{name}/", outer and inner)

    visit(model, "", True)
    return found


def chosen_layers(model, layers=None, kinds=None) -> list:
    """(name, layer) of the layers that are wanted.

    Args:
        model: a built model.
        layers: a name, a layer, a class, several of these, or a function of a
            layer; None: all of `kinds`.
        kinds: function of a layer: can it be analyzed? None: all can, and
            without `layers` those that are in models only are wanted.
    """
    check_model(model)
    every = named_layers(model)
    known = [(n, layer) for n, layer, _ in every if not kinds or kinds(layer)]
    if layers is None:
        outer = {id(layer) for _, layer, outer in every if outer}
        found = [e for e in known if kinds or id(e[1]) in outer]
    elif callable(layers) and not isinstance(layers, (type, Layer)):
        found = [entry for entry in known if layers(entry[1])]
    else:
        several = isinstance(layers, (list, tuple, set, frozenset))
        found = []
        for one in layers if several else [layers]:
            found += matching(one, known)
        ids = {id(layer) for _, layer in found}
        found = [entry for entry in known if id(entry[1]) in ids]
    if not found:
        raise errors.received(
            "`model` must have layers that can be analyzed, and `layers` name "
            "some of them.",
            layers=layers,
            model=model.name,
            known=[name for name, _ in known],
        )
    return found


def matching(one, known):
    """The (name, layer) that an entry of `layers` means."""
    if isinstance(one, type):
        return [entry for entry in known if isinstance(entry[1], one)]
    if isinstance(one, str):
        found = [e for e in known if one in (e[0], e[1].name)]
    else:
        found = [entry for entry in known if entry[1] is one]
    if not found:
        name = getattr(one, "name", one)
        raise errors.unknown_name("layers", name, [name for name, _ in known])
    return found
