"""One normalization layer as another: its options, its weights, what is lost.

Options are carried over by name, weights by name and shape; everything that
the target does not have is put into words, for the report.
"""

import inspect
from collections import namedtuple
from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core.freezing import FLAGS
from keras_norm.core.layer import AFFINE
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.layer import several
from keras_norm.core.update_count import UpdateCount
from keras_norm.models.layer_copies import copy_flags

# Options that mean the same wherever they have the same name.
CARRIED = ("axis", "epsilon", "momentum", *AFFINE)
# What is of the layer's place in the model, whatever it computes.
PLACE = ("name", "dtype", "trainable")
# Of the statistics' updates alone: nothing is lost where there are none.
UPDATES = (
    "momentum",
    "moving_mean_initializer",
    "moving_variance_initializer",
    "renorm_momentum",
    "synchronized",
    "unbiased_moving_variance",
)
# A layer made for another one, and what it does not take over of it.
Made = namedtuple("Made", "layer lost")


def takes(cls) -> list:
    """Names of the constructor arguments of a class of layers."""
    if issubclass(cls, NormalizationLayer):
        return configuration.arguments(cls)
    names = list(inspect.signature(cls.__init__).parameters)
    return [n for n in names[1:] if n not in ("args", "kwargs")]


def defaults(layer) -> dict:
    """The config of a layer of the same class with nothing chosen."""
    parameters = inspect.signature(type(layer).__init__).parameters
    config = layer.get_config()
    required = {
        n: config[n]
        for n, p in parameters.items()
        if p.default is p.empty and n in config
    }
    try:
        return type(layer).from_config(required).get_config()
    except Exception:
        # A class of the user's that must be told more: all of it is a choice.
        return {}


def made(old, target, options=None, **changes) -> Made:
    """A layer for `old`, of the class or by the template `target`.

    Args:
        old: the layer.
        target: a class, or a layer whose options win over those of `old`
            where they are not the defaults of its class.
        options: what is taken over from `old`; None: options that mean the
            same in all layers.
        **changes: options that are neither.
    """
    cls: Any = target if isinstance(target, type) else type(target)
    given = old.get_config()
    chosen: dict = {}
    if target is not cls:
        usual, config = defaults(target), target.get_config()
        chosen = {
            n: v
            for n, v in config.items()
            if n not in PLACE and (n not in usual or usual[n] != v)
        }
    allowed = takes(cls)
    names = CARRIED if options is None else options
    carried = {
        n: given[n]
        for n in names
        if n in given and n in allowed and fits(cls, n)
    }
    if options is None and "axis" in carried:
        carried["axis"] = one_axis(cls, carried["axis"])
    config = {**carried, **chosen, **changes}
    own = issubclass(cls, NormalizationLayer)
    place = (*PLACE, *FLAGS) if own else PLACE
    config |= {n: given[n] for n in place if n in given}
    try:
        layer = cls.from_config(config)
    except (TypeError, ValueError) as problem:
        raise unmade(old, cls, problem) from problem
    regularizer = getattr(old, "activity_regularizer", None)
    if regularizer is not None:
        layer.activity_regularizer = regularizer
    return Made(layer, lost_options(old, given, [*allowed, *chosen]))


def fits(cls, name) -> bool:
    """May an option be carried over to a class?

    Where the default of `momentum` is None, the method has a rule of its own.
    """
    if name != "momentum":
        return True
    default = inspect.signature(cls.__init__).parameters.get(name)
    return default is None or default.default is not None


def one_axis(cls, axis):
    """A list of one axis as the integer, where the class wants that."""
    default = inspect.signature(cls.__init__).parameters.get("axis")
    several = default is not None and isinstance(default.default, (list, tuple))
    if isinstance(axis, (list, tuple)) and len(axis) == 1 and not several:
        return axis[0]
    return axis


def unmade(old, target, problem):
    """The error of a target that cannot stand for a layer."""
    return errors.received(
        f"{old.name!r} cannot become a {target.__name__}: {problem}",
        "Give a template with other options, or a function that returns None "
        "for this layer.",
        layer=type(old).__name__,
        target=target.__name__,
    )


def check_outputs(old, new):
    """Refuse a target that returns another number of tensors."""
    shape = (old.get_build_config() or {}).get("input_shape")
    try:
        shapes = [layer.compute_output_shape(shape) for layer in (old, new)]
    except Exception:
        # What is not known shows when the model is made.
        return
    numbers = [len(s) if several(s) else 1 for s in shapes]
    if numbers[0] != numbers[1]:
        problem = f"its outputs differ, {numbers[1]} in the place of "
        raise unmade(old, type(new), f"{problem}{numbers[0]}.")


def lost_options(old, given, taken) -> list:
    """In words: what was chosen for a layer that its target has not."""
    usual = defaults(old)
    lost = [
        f"{name}={value!r} has no counterpart"
        for name, value in given.items()
        if name not in (*taken, *PLACE, *FLAGS, *UPDATES)
        # A nonlinearity is lost even where it is the default.
        and (usual.get(name) != value or name in NONLINEAR)
        and value not in (None, False, "linear")
    ]
    return lost


# Options that make a nonlinearity part of a normalization layer.
NONLINEAR = ("activation", "nonlinearity", "use_tlu")


# Weights ----------------------------------------------------------------------


def weight(layer, name):
    """A weight of a layer, or None. RMS normalization's gamma is `scale`."""
    found = getattr(layer, name, None)
    if found is None and name == "gamma":
        found = getattr(layer, "scale", None)
    return found if isinstance(found, keras.Variable) else None


def transfer_all(old, new) -> list:
    """Copy the weights of a layer to one that has the same ones."""
    for a, b in zip(old.weights, new.weights, strict=True):
        b.assign(ops.copy(a))
    copy_flags(old, new)
    forget(new)
    return []


def forget(layer):
    """The statistics were updated elsewhere: how often is not known."""
    count = getattr(layer, "updates", None)
    if isinstance(count, UpdateCount):
        count.forget()


def transfer(old, new) -> list:
    """Copy gamma, beta and statistics; return what was not, in words.

    And whatever else has the same name in both.
    """
    lost, values = [], forms(old)
    for name in ("gamma", "beta"):
        value, target = weight(old, name), weight(new, name)
        if value is not None and target is None:
            lost.append(f"{name} has no counterpart")
        elif value is not None and not assign(target, value):
            shapes = f"{tuple(value.shape)} and {tuple(target.shape)}"
            lost.append(f"{name} starts anew: of shapes {shapes}")
    anew = []
    for variable in (*new._trainable_variables, *new._non_trainable_variables):
        value = values.get(variable.name)
        given = value is not None and assign(variable, value)
        if given and "moving_" in variable.name:
            forget(new)
        learned = any(variable is v for v in new._trainable_variables)
        if given and learned and isinstance(value, keras.Variable):
            variable.trainable = value.trainable
        if not (given or learned) and len(variable.shape) > 0:
            anew.append(variable.name)
    if anew:
        lost.append(f"{', '.join(anew)} as in a new layer")
    return lost


def forms(layer) -> dict:
    """A layer's own weights by name, moving statistics in all their forms."""
    own = (*layer._trainable_variables, *layer._non_trainable_variables)
    found = {w.name: w for w in own}
    epsilon = getattr(layer, "epsilon", 0.0)
    variance = found.get("moving_variance")
    stddev = found.get("moving_stddev")
    if variance is None and stddev is not None:
        variance = ops.maximum(ops.square(stddev) - epsilon, 0)
    mean = found.get("moving_mean")
    if variance is not None:
        found.setdefault("moving_stddev", ops.sqrt(variance + epsilon))
        found.setdefault("moving_variance", variance)
        found.setdefault("training_variance", variance)
    if mean is not None:
        found.setdefault("training_mean", mean)
    return found


def assign(variable, value) -> bool:
    """Assign a value of the same entries in another shape, if it is one."""
    squeezed = [tuple(n for n in v.shape if n != 1) for v in (variable, value)]
    if squeezed[0] != squeezed[1]:
        return False
    value = ops.reshape(ops.copy(value), variable.shape)
    variable.assign(ops.cast(value, variable.dtype))
    return True
