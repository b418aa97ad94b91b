"""Copies of any model in which some layers are replaced by others.

Sequential and functional models are cloned along their graph. Layers and
models that hold others (wrappers, cells, subclassed models) are made anew from
their config, built, and then given the replacements in the places of theirs.
The given model is only read.
"""

import inspect
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import keras

from keras_norm import errors
from keras_norm.core.freezing import FLAGS
from keras_norm.core.freezing import Freezable
from keras_norm.core.model_copies import call
from keras_norm.core.substitution import substituted

Replacement = Callable[[keras.layers.Layer], keras.layers.Layer | None]


def is_graph(layer) -> bool:
    """True for Sequential and functional models."""
    return isinstance(layer, keras.Sequential) or hasattr(layer, "operations")


def build_like(new, old):
    """Build `new` for what `old` was built for, under its path."""
    # Of Keras' name scopes: variables keep their paths.
    new._parent_path = old._parent_path
    if old.built and not new.built:
        new.build_from_config(old.get_build_config() or {})
    return new


def name_like(new, old):
    """Give a copy's layers, whose names Keras may have chosen, those of old."""
    new.name = old.name
    new._parent_path = old._parent_path
    for place in places(old, {id(inner) for inner in old._layers}):
        inner, counterpart = at(old, place), at(new, place)
        if type(inner) is type(counterpart):
            name_like(counterpart, inner)


def copy_flags(old, new):
    """`trainable`, of the layer and of each of its variables; what is frozen.

    Not through the setter, which would set those of the layers within.
    """
    new._trainable = old._trainable
    if isinstance(old, Freezable):
        for name in FLAGS:
            setattr(new, name, getattr(old, name))
    pairs = zip(old._trainable_variables, new._trainable_variables, strict=True)
    for a, b in pairs:
        b.trainable = a.trainable


def copy_state(old, new):
    """The layer's own weights, seeds and assets, as Keras would load them."""
    held: dict = {}
    old.save_own_variables(held)
    values = {n: keras.ops.convert_to_numpy(v) for n, v in held.items()}
    if values:
        new.load_own_variables(values)
    seeds = zip(old._seed_generators, new._seed_generators, strict=True)
    for a, b in seeds:
        b.state.assign(keras.ops.convert_to_numpy(a.state))
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)


class LayerCopies:
    """The copies of one model's layers, each made once.

    Args:
        replacement: of a layer, the built layer in its place, or None for a
            copy of it. It is asked once for each layer, outermost first; the
            layers within one that is replaced are not asked for.
    """

    def __init__(self, replacement: Replacement):
        self.replacement = replacement
        # id of a layer -> (the layer, what stands for it).
        self.made: dict = {}
        # id of a replaced layer -> the class whose config does not save it.
        self.unsaved: dict = {}

    def of(self, layer):
        """What stands for a layer in the copy."""
        if id(layer) not in self.made:
            self.made[id(layer)] = (layer, self.make(layer))
        return self.made[id(layer)][1]

    def make(self, layer):
        """A replacement, or a copy with its state."""
        if not isinstance(layer, keras.layers.Layer):
            # A bare operation of keras.ops.
            return type(layer).from_config(layer.get_config())
        if is_graph(layer):
            return self.graph(layer)
        new = self.replacement(layer)
        if new is None:
            new = self.copy(layer)
            self.settle(layer, new)
        return new

    def graph(self, model):
        """A clone of a Sequential or functional model."""
        check_constructor(model)
        options = (
            {}
            if isinstance(model, keras.Sequential)
            else {"call_function": call}
        )
        # Keras would compile the clone from a config, which knows no function
        # of the user's that is not registered.
        with substituted([(model, "compiled", False)]):
            made = keras.models.clone_model(
                model, clone_function=self.of, recursive=False, **options
            )
        made._trainable = model._trainable
        return made

    def copy(self, layer):
        """A layer of the same config, built if this one is."""
        try:
            with warnings.catch_warnings():
                # A model that cannot be built from its config says so in a
                # warning: it is refused below.
                warnings.filterwarnings("ignore", "Model .* had a build config")
                config = layer.get_config()
                new = type(layer).from_config(config)
                name_like(new, layer)
                build_like(new, layer)
        except Exception as problem:
            raise uncopied(layer, str(problem)) from problem
        return new

    def settle(self, old, new):
        """Give a copy its state, and its layers their replacements."""
        left = {id(inner): inner for inner in old._layers}
        copies, changed = list(new._layers), []
        for place in list(places(old, left)):
            inner, counterpart = at(old, place), at(new, place)
            self.pair(inner, counterpart)
            wanted = self.of(inner)
            if wanted is not counterpart:
                put(new, place, counterpart, wanted)
                changed.append((place, inner, wanted))
        placed = {id(at(old, place)) for place in places(old, left)}
        for index, inner in enumerate(old._layers):
            if id(inner) in placed:
                continue
            # Tracked, but in no attribute: it cannot be replaced.
            counterpart = copies[index] if index < len(copies) else None
            self.pair(inner, counterpart)
            if self.of(inner) is not counterpart:
                raise uncopied(old, f"{inner.name!r} is in no attribute of it")
        try:
            copy_state(old, new)
            copy_flags(old, new)
        except Exception as problem:
            raise uncopied(old, str(problem)) from problem
        if old._layers and hasattr(new, "_torch_params"):
            # PyTorch's list of parameters names those of the layers within.
            new._track_variables()
        self.note_unsaved(new, changed)

    def note_unsaved(self, new, changed):
        """Note which replacements the layer's config does not tell of."""
        if not changed:
            return
        again = type(new).from_config(new.get_config())
        for place, inner, wanted in changed:
            if type(at(again, place)) is not type(wanted):
                self.unsaved.setdefault(id(inner), type(new).__name__)

    def pair(self, inner, counterpart):
        """Let a copy's own layer stand for the one it is a copy of."""
        if id(inner) in self.made:
            return
        if is_graph(inner):
            made = self.graph(inner)
        else:
            made = self.replacement(inner)
        same = type(inner) is type(counterpart)
        if made is None:
            # Its owner may make another than it has by now.
            made = counterpart if same else self.copy(inner)
            self.made[id(inner)] = (inner, made)
            self.settle(inner, made)
        self.made[id(inner)] = (inner, made)


def check_constructor(model):
    """Refuse a class that makes its own graph: the clone would not be one."""
    plain = type(model) is keras.Sequential
    if not isinstance(model, keras.Sequential):
        spec = inspect.getfullargspec(type(model).__init__)
        plain = spec.args[1:] == ["inputs", "outputs", "name"] or bool(
            spec.varargs and spec.varkw
        )
    if not plain:
        raise errors.received(
            "`model` must not contain a class of models that makes its own "
            "graph: a copy would not be of that class.",
            "Make its layers in the constructor and call them in `call`, or "
            "convert `keras.Model(model.inputs, model.outputs)`.",
            model_class=type(model).__name__,
        )


def uncopied(layer, why):
    """The error of a layer that cannot be copied."""
    return errors.received(
        f"`model` contains a {type(layer).__name__} that cannot be copied: "
        f"{why}.",
        "It must be made from its `get_config()`, be built from its "
        "`get_build_config()`, and keep its layers in attributes.",
        layer=layer.name,
    )


# Places: (attribute, key, key, ...) of a layer within another.


def attributes(owner) -> dict:
    """The attributes of a layer; PyTorch keeps modules elsewhere."""
    own = vars(owner)
    return {**own, **(own.get("_modules") or {})}


def places(owner, wanted):
    """Every place of a layer at which one of `wanted` is."""
    for name, value in attributes(owner).items():
        # `_self_...` and `_modules` are the backends' own lists.
        if name in ("_layers", "_modules") or name.startswith("_self_"):
            continue
        yield from within((name,), value, wanted)


def within(place, value, wanted):
    """The places of `wanted` in nested lists, tuples and dictionaries."""
    if isinstance(value, keras.layers.Layer):
        if id(value) in wanted:
            yield place
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from within((*place, key), entry, wanted)
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from within((*place, index), entry, wanted)


def at(owner, place):
    """What is at a place; None where there is nothing."""
    value: Any = attributes(owner).get(place[0])
    for key in place[1:]:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def index_of(layer, layers):
    """The index of an object, not of an equal one."""
    return next(i for i, one in enumerate(layers) if one is layer)


def put(owner, place, old, new):
    """Put a layer in the place of another, which is no longer tracked."""
    index = index_of(old, owner._layers) if tracked(owner, old) else None
    # What the copy has not at that place, it cannot be given there.
    if at(owner, place) is None:
        raise uncopied(owner, f"the copy has no {new.name!r}")
    tracker = owner._tracker
    locked = tracker.locked
    tracker.unlock()
    try:
        value = replaced(attributes(owner)[place[0]], place[1:], new)
        if len(place) == 1 or isinstance(value, tuple):
            setattr(owner, place[0], value)
        if not tracked(owner, new):
            tracker.track(new)
        if index is not None:
            # In its order among the others: that of the weights.
            tracker.untrack(old)
            at_end = index_of(new, owner._layers)
            owner._layers.insert(index, owner._layers.pop(at_end))
    finally:
        tracker.locked = locked


def tracked(owner, layer) -> bool:
    """Is a layer among those that Keras tracks?"""
    return any(one is layer for one in owner._layers)


def replaced(value, keys, new):
    """`value` with `new` at the keys; only tuples are made anew."""
    if not keys:
        return new
    key, *rest = keys
    inner = replaced(value[key], rest, new)
    if isinstance(value, tuple):
        entries = [*value[:key], inner, *value[key + 1 :]]
        named = hasattr(value, "_fields")
        return type(value)(*entries) if named else tuple(entries)
    # Keras' lists and dictionaries track what they are given: done by `put`.
    base = list if isinstance(value, list) else dict
    base.__setitem__(value, key, inner)
    return value
