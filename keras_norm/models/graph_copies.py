"""Copies of a model in which calls of layers are left out.

As `layer_copies`, and: a layer may be removed, so that what it was given goes
on in the place of what it returned; inputs of nested models may have other
shapes. A Sequential model stays one. The given model is only read.
"""

from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

import keras

from keras_norm.core.model_copies import call
from keras_norm.core.substitution import substituted
from keras_norm.models.layer_copies import LayerCopies
from keras_norm.models.layer_copies import Replacement
from keras_norm.models.layer_copies import check_constructor


def rebuilt(
    model: keras.Model,
    replacement: Replacement,
    removed: Collection[keras.layers.Layer] = (),
    input_shapes: Mapping[int, tuple] | None = None,
) -> keras.Model:
    """A copy of a Sequential or functional model without some layers.

    Names, weights, seeds and trainable flags are those of the given model;
    shared layers stay shared. The copy is not compiled.

    Args:
        model: a built model.
        replacement: of a layer, the built layer in its place, with its
            weights; None for a copy of it. It is asked once for each layer;
            not for models within the model nor for removed layers.
        removed: layers that return their first argument: every call of them
            is left out.
        input_shapes: {id of a symbolic input of a nested model: its shape in
            the copy, batch included}, where it changes.
    """
    copies = GraphCopies(replacement, removed, input_shapes or {})
    return copies.of(model)


class Removed:
    """What stands for a layer whose calls are left out."""


class GraphCopies(LayerCopies):
    """See `rebuilt`."""

    def __init__(self, replacement, removed, input_shapes):
        super().__init__(replacement)
        self.removed = {id(layer): layer for layer in removed}
        self.input_shapes = input_shapes

    def make(self, layer):
        """As of any copy, or a mark that there is none."""
        return Removed() if id(layer) in self.removed else super().make(layer)

    def graph(self, model) -> Any:
        """The copy of a Sequential or functional model."""
        check_constructor(model)
        if isinstance(model, keras.Sequential):
            made = self.sequential(model)
        else:
            made = self.functional(model)
        if isinstance(made, keras.Model):
            made._trainable = model._trainable
        return made

    def functional(self, model):
        """A clone along the graph."""
        inputs = keras.tree.map_structure(self.input, model.input)
        # See `LayerCopies.graph`.
        with substituted([(model, "compiled", False)]):
            return keras.models.clone_model(
                model,
                input_tensors=inputs,
                clone_function=self.of,
                call_function=called,
                recursive=False,
            )

    def sequential(self, model):
        """The layers that are left; without any, the model is removed."""
        made = [self.of(layer) for layer in model.layers]
        left = [layer for layer in made if not isinstance(layer, Removed)]
        if not left:
            return Removed()
        first = model._layers[0]
        if isinstance(first, keras.layers.InputLayer):
            left.insert(0, self.input(first.output))
        return keras.Sequential(left, name=model.name)

    def input(self, t):
        """An input in the place of another, of its shape in the copy."""
        return keras.Input(
            batch_shape=self.input_shapes.get(id(t), t.shape),
            dtype=t.dtype,
            name=t.name,
            optional=getattr(t._keras_history.operation, "optional", False),
        )


def called(layer, *args, **kwargs):
    """Call what stands for a layer."""
    if not isinstance(layer, Removed):
        return call(layer, *args, **kwargs)
    return args[0] if args else next(iter(kwargs.values()))
