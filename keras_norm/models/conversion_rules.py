"""What stands for a layer: the rules of `tools.convert`.

Functions of (layer, copies) that give (new layer, what is lost, how weights
are transferred), None, or raise `Kept`.
"""

from collections.abc import Callable
from typing import TypeAlias

import keras
import numpy as np

import keras_norm.layers as ours
from keras_norm import errors
from keras_norm.core.kernel_wrapper import KernelWrapper
from keras_norm.core.layer import NormalizationLayer
from keras_norm.core.linear import KernelLayer
from keras_norm.core.normalization import ComposedNormalization
from keras_norm.core.operations import Standardize
from keras_norm.core.recoveries import Affine
from keras_norm.core.renorm import BatchRenorm
from keras_norm.core.statistics import MovingAverage
from keras_norm.models import layer_conversions as conversions
from keras_norm.models.addons import addons_target
from keras_norm.models.addons import from_addons
from keras_norm.models.conversion_report import Kept
from keras_norm.models.model_layers import STEPS
from keras_norm.models.model_layers import regular

TWINS = {
    getattr(keras.layers, name): getattr(ours, name)
    for name in (
        "BatchNormalization",
        "GroupNormalization",
        "LayerNormalization",
        "RMSNormalization",
        "SpectralNormalization",
        "UnitNormalization",
    )
}
NAMES = ("ours", "synchronized", "local", "frozen")
# Said of layers that were kept because their very class was not named.
SUBCLASS = "is a subclass of"

Target: TypeAlias = (
    type
    | keras.layers.Layer
    | Callable[[keras.layers.Layer], keras.layers.Layer | None]
    | str
)


def is_normalization(layer) -> bool:
    """Is it a layer that a conversion could be about?"""
    named = "Norm" in type(layer).__name__
    composed = isinstance(layer, NormalizationLayer)
    return (named or composed) and not isinstance(layer, KernelLayer)


def rule_of(to):
    """The rule of the user's `to`."""
    if isinstance(to, str):
        return named_rule(to)
    if not isinstance(to, dict) or not to:
        raise errors.received(
            "`to` must be a dictionary {class: target}, or one of "
            f"{list(NAMES)}.",
            to=to,
        )
    rules = {cls: target_rule(cls, target) for cls, target in to.items()}

    def rule(layer, copies):
        if type(layer) in rules:
            return rules[type(layer)](layer, copies)
        for cls in rules:
            if isinstance(layer, cls):
                raise Kept(
                    f"it {SUBCLASS} {cls.__name__}: name its own class to "
                    "convert it"
                )
        return None

    return rule


def target_rule(cls, target):
    """The rule of one entry of the dictionary."""
    if not isinstance(cls, type) or not issubclass(cls, keras.layers.Layer):
        raise errors.received(
            "The keys of `to` must be classes of layers.", key=cls
        )
    if isinstance(target, str):
        return named_rule(target)
    layers = isinstance(target, type) and issubclass(target, keras.layers.Layer)
    if layers or isinstance(target, keras.layers.Layer):
        return lambda layer, copies: by_class(layer, target)
    if callable(target) and not isinstance(target, type):
        return lambda layer, copies: by_function(layer, target)
    raise errors.received(
        "The values of `to` must be classes of layers, layers, functions of a "
        f"layer, or one of {list(NAMES)}.",
        **{cls.__name__: target},
    )


def named_rule(name):
    """The rule of a name."""
    rules = {
        "ours": ours_of,
        "synchronized": lambda layer, copies: synchronized(layer, True),
        "local": lambda layer, copies: synchronized(layer, False),
        "frozen": lambda layer, copies: frozen(layer),
    }
    if name not in rules:
        raise errors.unknown_name("to", name, list(NAMES))

    def rule(layer, copies):
        found = rules[name](layer, copies)
        subclassed = [c for c in TWINS if isinstance(layer, c)]
        if found is None and subclassed and type(layer) not in TWINS:
            raise Kept(
                f"it {SUBCLASS} {subclassed[0].__name__}: give a target for "
                "its own class"
            )
        return found

    return rule


def by_class(layer, target):
    """A class or a template in a layer's place."""
    made = conversions.made(layer, target)
    return made.layer, made.lost, conversions.transfer


def by_function(layer, target):
    """What the user's function makes of a layer."""
    new = target(layer)
    if new is None:
        raise Kept("the function returned None")
    if not isinstance(new, keras.layers.Layer):
        raise errors.received(
            "A function as target must return a layer or None.",
            layer=layer.name,
            returned=new,
        )
    if new is not layer:
        new.name = layer.name
        new.trainable = new.trainable and layer.trainable
    return new, [], conversions.transfer


def ours_of(layer, copies):
    """This package's layer of the same method."""
    target, changes, renamed = TWINS.get(type(layer)), {}, ()
    if target is None and from_addons(type(layer)):
        target, changes, renamed = addons_target(layer)
    if target is None:
        if isinstance(layer, NormalizationLayer | KernelWrapper):
            raise Kept("it is one of this package's layers")
        return None
    if isinstance(layer, keras.layers.Wrapper):
        return wrapper(layer, target, copies)
    options = [n for n in layer.get_config() if n not in changes]
    made = conversions.made(layer, target, options, **changes)
    lost = [n for n in made.lost if n.split("=")[0] not in renamed]
    return made.layer, lost, conversions.transfer


def wrapper(layer, target, copies):
    """This package's wrapper around a copy of what a layer wraps."""
    given, allowed = layer.get_config(), conversions.takes(target)
    options = {
        n: given[n]
        for n in (*allowed, *conversions.PLACE)
        if n in given and n != "layer"
    }
    new = target(copies.of(layer.layer), **options)
    lost = conversions.lost_options(layer, given, [*allowed, "layer"])
    if target is ours.SpectralNormalization:
        lost.append("the kernel is divided by sigma at inference too")
    return new, lost, conversions.transfer


def synchronized(layer, wanted):
    """The layer with other `synchronized`."""
    cls = type(layer)
    if cls not in TWINS and not isinstance(layer, NormalizationLayer):
        return None
    if "synchronized" not in conversions.takes(cls):
        if not is_normalization(layer):
            return None
        raise Kept("its statistics are not of several samples")
    if layer.synchronized == wanted:
        raise Kept(f"it is {'synchronized' if wanted else 'local'} already")
    # Keras' own can be synchronized on TensorFlow only.
    target = TWINS[cls] if wanted and cls in TWINS else cls
    options = list(layer.get_config())
    made = conversions.made(layer, target, options, synchronized=wanted)
    return made.layer, made.lost, conversions.transfer_all


def frozen(layer):
    """FrozenBatchNormalization, which computes what the layer does now."""
    target = ours.FrozenBatchNormalization
    if isinstance(layer, target):
        raise Kept("it is frozen already")
    twin = type(layer) is keras.layers.BatchNormalization
    if not (twin or is_batch_normalization(layer)):
        if type(layer) in TWINS or isinstance(layer, NormalizationLayer):
            raise Kept(
                "at inference it is not known to be one scale-and-shift by a "
                "moving mean and a moving variance"
            )
        return None
    # How batches were normalized does not matter any more.
    return conversions.made(layer, target).layer, [], conversions.transfer


def is_batch_normalization(layer) -> bool:
    """Is inference one scale-and-shift by a moving mean and variance?"""
    if not isinstance(layer, ComposedNormalization):
        return False
    # `conversions.forms` knows the variance of batch renormalization.
    states = (MovingAverage.state, BatchRenorm.state)
    return (
        getattr(layer.area, "columns", None) == "each"
        and type(layer.operation) is Standardize
        and isinstance(layer.statistics, MovingAverage)
        and type(layer.statistics).state in states
        and type(layer.recovery) is Affine
        # A step of its own may do anything, as scale the whole layer.
        and regular(layer, (*STEPS, "inference_factors", "finish", "call"))
        and len(getattr(layer, "moving_mean", np.zeros(())).shape) == 1
    )
