"""Other normalization layers in a whole model."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
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
from keras_norm.models.layer_copies import LayerCopies
from keras_norm.models.layer_copies import build_like
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

Target: TypeAlias = (
    type
    | keras.layers.Layer
    | Callable[[keras.layers.Layer], keras.layers.Layer | None]
    | str
)


@dataclass(frozen=True)
class Change:
    """What became of one normalization layer.

    Attributes:
        path: the layer's path in the model.
        before: its class, as in "keras.BatchNormalization".
        after: what stands for it; None: it was kept.
        notes: what was lost or left alone, and why.
    """

    path: str
    before: str
    after: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        became = f" -> {self.after}" if self.after else " kept"
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return f"{self.path}: {self.before}{became}{notes}"


@dataclass(frozen=True)
class ConversionReport:
    """What `convert` has done with each normalization layer of a model."""

    changes: list[Change] = field(default_factory=list)

    @property
    def converted(self) -> list[Change]:
        """Layers that another one stands for."""
        return [c for c in self.changes if c.after]

    @property
    def kept(self) -> list[Change]:
        """Normalization layers that are as they were."""
        return [c for c in self.changes if not c.after]

    @property
    def losses(self) -> list[Change]:
        """Converted layers that had something which their target has not."""
        return [c for c in self.converted if c.notes]

    def __str__(self) -> str:
        """A line for each layer, after the counts."""
        counts = f"{len(self.converted)} converted, {len(self.kept)} kept"
        return "\n".join([counts, *(f"  {c}" for c in self.changes)])


class Kept(Exception):
    """A rule's reason to leave a layer as it is."""


def convert(
    model: keras.Model,
    to: dict[type, Target] | str,
    *,
    return_report: bool = False,
) -> keras.Model | tuple[keras.Model, ConversionReport]:
    """A copy of `model` with other normalization layers.

    Layers are found everywhere: in nested models, wrappers, recurrent cells,
    and layers and models of one's own that keep theirs in attributes. Shared
    layers stay shared. Each new layer has the name, path, dtype policy and
    trainable flags of the old one, and its axis, epsilon, momentum, center,
    scale, initializers, regularizers and constraints wherever it takes them;
    gamma, beta and moving statistics are copied where it has them in the same
    shape. All other weights are copied. The copy is not compiled; `model`
    stays as it is.

    A class of one's own that makes its layers itself makes them again when a
    model is loaded: the report names those. Load such a model as it was,
    convert it, and load the weights of the converted one.

    Args:
        model: a built model. Sequential and functional models are cloned;
            those of other classes must be possible to make from their config.
        to: {class: target}, for the layers of exactly that class, or one of
            the names below for every layer that it applies to. A target is

            - a class of layers;
            - a layer, as a template: what differs from the defaults of its
              class wins over the options of the layer it stands for;
            - a function of the layer that returns a new layer, used as it is
              but for name and `trainable=False`, or None to keep it;
            - "ours": this package's layer of the same method, for layers of
              Keras and of TensorFlow Addons;
            - "synchronized", "local": statistics of all replicas, of each;
            - "frozen": `FrozenBatchNormalization`, for batch normalization.
        return_report: also return what was and what was not converted. If
            False, a warning tells of subclasses that were kept, and of what
            targets lack.

    Returns:
        The new model, or (model, report).

    Raises:
        ValueError: no layer of the classes in the model; an unknown name; a
            target that cannot be built in a layer's place; a model that is not
            built or cannot be copied.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential(
    ...     [keras.Input((8, 8, 4)), keras.layers.BatchNormalization(name="n")],
    ...     name="images")
    >>> model, report = kn.tools.convert(
    ...     model,
    ...     {keras.layers.BatchNormalization:
    ...         kn.layers.GroupNormalization(groups=2)},
    ...     return_report=True)
    >>> print(report)
    1 converted, 0 kept
      images/n: keras.BatchNormalization -> keras_norm.GroupNormalization
    """
    check(model)
    rule = rule_of(to)
    changes: dict[int, Change] = {}
    returned: dict[int, keras.layers.Layer] = {}

    def replacement(layer):
        before = label(layer)
        try:
            found = rule(layer, copies)
        except Kept as reason:
            changes[id(layer)] = Change(
                layer.path, before, None, (str(reason),)
            )
            return None
        if found is None:
            if is_normalization(layer):
                note = ("it is of none of the classes to convert",)
                changes[id(layer)] = Change(layer.path, before, None, note)
            return None
        new, lost, transfer = found
        if id(new) in returned or new is layer:
            raise errors.received(
                "A function as target must return a new layer for each layer.",
                "To keep one, return None.",
                layer=layer.name,
            )
        returned[id(new)] = new
        try:
            build_like(new, layer)
        except (TypeError, ValueError, IndexError) as problem:
            raise conversions.unmade(layer, type(new), problem) from problem
        conversions.check_outputs(layer, new)
        lost = [*lost, *transfer(layer, new)]
        after = label(new)
        if getattr(layer, "synchronized", False) != getattr(
            new, "synchronized", False
        ):
            after += f"(synchronized={new.synchronized})"
        changes[id(layer)] = Change(layer.path, before, after, tuple(lost))
        return new

    copies = LayerCopies(replacement)
    made = copies.of(model)
    for key, owner in copies.unsaved.items():
        if key in changes:
            note = f"{owner} makes its own anew when it is loaded from a file"
            notes = (*changes[key].notes, note)
            changes[key] = replace(changes[key], notes=notes)
    report = ConversionReport(list(changes.values()))
    if isinstance(to, dict) and not report.converted:
        here = sorted({c.before for c in report.changes})
        if not any(type(layer) in to for layer in every(model)):
            raise errors.received(
                "`to` must name the class of at least one layer of the model. "
                f"Its normalization layers are of the classes {here}.",
                "keras.layers.BatchNormalization and "
                "keras_norm.layers.BatchNormalization are two classes.",
                to=[cls.__name__ for cls in to],
                kept=[str(c) for c in report.kept],
            )
    if return_report:
        return made, report
    told = [*report.losses, *(c for c in report.kept if SUBCLASS in str(c))]
    if told:
        listed = "\n".join(f"  {c}" for c in told)
        warnings.warn(
            "Not all that the layers do was converted (with "
            f"`return_report=True` this is no warning):\n{listed}",
            stacklevel=2,
        )
    return made


def check(model):
    """Refuse what is no built model."""
    if not isinstance(model, keras.Model):
        raise errors.received("`model` must be a keras.Model.", model=model)
    if not model.built:
        raise errors.received(
            "`model` must be built.",
            "Give it a `keras.Input`, or call it on data first.",
            model=model.name,
        )


def every(model):
    """All layers of a model, those within others too."""
    return model._flatten_layers(include_self=False)


def label(layer) -> str:
    """Package and class: Keras' names are ours too."""
    cls = type(layer)
    return f"{cls.__module__.split('.')[0]}.{cls.__name__}"


def is_normalization(layer) -> bool:
    """Is it a layer that a conversion could be about?"""
    named = "Norm" in type(layer).__name__
    composed = isinstance(layer, NormalizationLayer)
    return (named or composed) and not isinstance(layer, KernelLayer)


# Rules: functions of (layer, copies) that give (new layer, what is lost, how
# weights are transferred), None, or raise Kept ------------------------------

SUBCLASS = "is a subclass of"


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


# TensorFlow Addons, which need not be installed -------------------------------


def from_addons(cls) -> bool:
    """Is it a class of tensorflow_addons?"""
    registered = keras.saving.get_registered_name(cls).startswith("Addons>")
    return registered or cls.__module__.startswith("tensorflow_addons")


def addons_target(layer):
    """(our class or None, options of its own, options that are no loss)."""
    name, given = type(layer).__name__, layer.get_config()
    if name == "InstanceNormalization":
        # A group normalization with as many groups as channels.
        return ours.InstanceNormalization, {}, ("groups",)
    if name == "FilterResponseNormalization":
        changes = {
            "axis": -1,
            "epsilon": float(keras.ops.convert_to_numpy(given["epsilon"])),
            "learn_epsilon": given["learned_epsilon"],
        }
        return (
            ours.FilterResponseNormalization,
            changes,
            ("learned_epsilon",),
        )
    if name == "TLU":
        raise Kept("its thresholds are one for each entry, not each channel")
    known = (
        "GroupNormalization",
        "SpectralNormalization",
        "WeightNormalization",
    )
    return (getattr(ours, name) if name in known else None), {}, ()
