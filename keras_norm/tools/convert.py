"""Other normalization layers in a whole model."""

import warnings
from dataclasses import replace

import keras

from keras_norm import errors
from keras_norm.models import layer_conversions as conversions
from keras_norm.models.conversion_report import Change
from keras_norm.models.conversion_report import ConversionReport
from keras_norm.models.conversion_report import Kept
from keras_norm.models.conversion_rules import SUBCLASS
from keras_norm.models.conversion_rules import Target
from keras_norm.models.conversion_rules import is_normalization
from keras_norm.models.conversion_rules import rule_of
from keras_norm.models.layer_copies import LayerCopies
from keras_norm.models.layer_copies import build_like


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
