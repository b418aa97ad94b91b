"""Arguments of a class: their names, their checking and their config.

Layers and parts keep every constructor argument under its own name, so that
one function can write the config of them all.
"""

import inspect

import keras

from keras_norm import errors

# What keras.layers.Layer takes besides a layer's own arguments.
LAYER_KEYWORDS = (
    "activity_regularizer",
    "autocast",
    "batch_input_shape",
    "batch_size",
    "dtype",
    "input_dim",
    "input_shape",
    "name",
    "trainable",
)

_SERIALIZERS = {
    "initializer": keras.initializers.serialize,
    "regularizer": keras.regularizers.serialize,
    "constraint": keras.constraints.serialize,
    "activation": keras.activations.serialize,
}

_known: dict[type, list[str]] = {}


def arguments(cls: type) -> list[str]:
    """Names of all constructor arguments, from the class to its bases.

    A class that takes `**kwargs` hands them to its base, whose arguments are
    then its own too. `cls.fixed` lists those a preset has settled.
    """
    if cls in _known:
        return _known[cls]
    names: list[str] = []
    for base in cls.__mro__:
        if base is object or base.__module__.startswith("keras.src"):
            break
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        kinds = [p.kind for p in parameters.values()]
        fixed = getattr(cls, "fixed", ())
        for name, parameter in list(parameters.items())[1:]:
            own = base is cls or name not in fixed
            if parameter.kind is parameter.VAR_KEYWORD or name in names:
                continue
            if own:
                names.append(name)
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return _known.setdefault(cls, names)


def default(cls: type, name: str) -> object:
    """Plain data of the default of a constructor argument."""
    for base in cls.__mro__:
        constructor = vars(base).get("__init__")
        parameters = (
            inspect.signature(constructor).parameters if constructor else {}
        )
        if name in parameters:
            value = parameters[name].default
            if name.endswith("initializer"):
                value = keras.initializers.get(value)
            return serialize(name, value)
    raise KeyError(name)


def check_keywords(cls: type, keywords: dict, extra: tuple = ()) -> None:
    """Refuse a keyword that nobody takes, naming the nearest that exists."""
    allowed = [*arguments(cls), *extra]
    for name in keywords:
        if name not in allowed:
            raise errors.unknown_keyword(cls.__name__, name, allowed)


def serialize(name: str, value: object) -> object:
    """Plain data for one argument."""
    for suffix, function in _SERIALIZERS.items():
        if name.endswith(suffix):
            plain = isinstance(value, (int, float, str))
            return value if plain else function(value)
    if isinstance(value, keras.initializers.Initializer):
        return keras.initializers.serialize(value)
    if isinstance(value, Part):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, (list, tuple)):
        return [serialize("", v) for v in value]
    if isinstance(value, dict):
        return {k: serialize("", v) for k, v in value.items()}
    return value


def config(thing: object) -> dict:
    """Plain data for all constructor arguments of `thing`."""
    return {n: serialize(n, getattr(thing, n)) for n in arguments(type(thing))}


class Part:
    """Base of areas, operations, statistics and recoveries.

    A part is a small value: its constructor arguments are its whole state, so
    equality, repr and config are written once. It owns no weights; it says
    which it needs and the layer creates them, flat.
    """

    def get_config(self) -> dict:
        """The constructor arguments as plain data."""
        return config(self)

    @classmethod
    def from_config(cls, config: dict) -> "Part":
        """The part that `get_config` described."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        """Parts of one class with equal arguments are equal."""
        return type(self) is type(other) and config(self) == config(other)

    def __hash__(self) -> int:
        """Consistent with equality."""
        return hash((type(self), repr(self)))

    def __repr__(self) -> str:
        """The call that makes this part, defaults left out."""
        listed = []
        for name, value in self.get_config().items():
            if value != default(type(self), name) and value != {}:
                listed.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(listed)})"


def get(identifier, kind: type | tuple, argument: str, names: dict):
    """A part from an object, a name, a class or a config.

    Args:
        identifier: what the user gave.
        kind: class or classes of part that are wanted.
        argument: name of the user's argument, for the message.
        names: name -> function that makes the part.
    """
    if isinstance(identifier, kind):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, kind):
        return identifier()
    if isinstance(identifier, dict):
        made = keras.saving.deserialize_keras_object(identifier)
        if isinstance(made, kind):
            return made
    if isinstance(identifier, str) and identifier in names:
        return names[identifier]()
    raise errors.unknown_name(argument, identifier, list(names))
