"""Transforms of gradients: pure rules, and chains of them."""

from typing import Any

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import kernels
from keras_norm.core.configuration import Part
from keras_norm.core.configuration import arguments
from keras_norm.core.kernel import Kernel
from keras_norm.core.unit_norms import dense
from keras_norm.core.variable_choice import VariableChoice
from keras_norm.core.variable_choice import read


class Transform(Part):
    """Base of the transforms of `keras_norm.optimizers.GradientTransform`.

    A subclass gives `transformed`, and takes `where` among its arguments.

    Attributes:
        vectors: are variables without units transformed? As in
            `VariableChoice.find`.
        jointly: does it need the gradients of several variables at once?
    """

    vectors = "never"
    jointly = False

    def __init__(self, where=None):
        self._choice = VariableChoice(where)

    @property
    def where(self) -> Any:
        """Which variables, as it was given."""
        return self._choice.where

    def transformed(self, gradient, variable, kernel: Kernel) -> Any:
        """The gradient of one variable, transformed.

        Args:
            gradient: at least float32.
            variable: its value, likewise.
            kernel: says what the units are.
        """
        raise NotImplementedError

    def of_several(self, gradients, variables, kernels) -> dict:
        """The same for {index: ...} of all that it is for."""
        return {
            i: self.transformed(gradients[i], variables[i], kernels[i])
            for i in kernels
        }

    def applies(self, kernel: Kernel) -> bool:
        """Is it for such a variable?"""
        return True

    def find(self, variables, default: VariableChoice) -> dict[int, Kernel]:
        """{index: units} among `variables`; `default` where there is none."""
        choice = default if self.where is None else self._choice
        found = choice.find(variables, self.vectors)
        return {i: k for i, k in found.items() if self.applies(k)}

    def __call__(self, gradient, variable=None, axis=None):
        """The transformed gradient of one variable, a tensor.

        Args:
            gradient: a tensor.
            variable: the variable or its value, where the rule needs it.
            axis: axes of the units, an int or several, or a name as in
                `keras_norm.constraints.UnitNorm`. None: the last; a vector is
                one unit.
        """
        g = dense(gradient)
        kernel = read(g, "")
        if axis is not None:
            axes = kernels.output_axes(axis, len(g.shape))
            kernel = Kernel(
                "", None, "", g, axis if isinstance(axis, str) else "", axes
            )
        if len(g.shape) <= 1 and self.vectors == "never":
            return ops.convert_to_tensor(gradient)
        if not self.applies(kernel):
            return ops.convert_to_tensor(gradient)
        w = None if variable is None else ops.cast(dense(variable), g.dtype)
        dtype = keras.backend.standardize_dtype(gradient.dtype)
        return ops.cast(self.transformed(g, w, kernel), dtype)

    def get_config(self):
        names = [n for n in arguments(type(self)) if n != "where"]
        own = {name: getattr(self, name) for name in names}
        return {**own, "where": self._choice.config()}


def needed(variable, rule):
    """Refuse a call without the variable."""
    if variable is None:
        raise errors.received(
            f"`variable` must be given: {rule}.", variable=variable
        )


class Chain:
    """Transforms, one after the other, each for its variables.

    Args:
        transforms: a transform or several, or their configs.
        where: which variables, for those that do not say it themselves.
    """

    def __init__(self, transforms, where=None):
        if isinstance(transforms, (Transform, dict)):
            transforms = [transforms]
        listed = isinstance(transforms, (list, tuple))
        made = [
            keras.saving.deserialize_keras_object(t)
            if isinstance(t, dict)
            else t
            for t in (transforms if listed else [])
        ]
        if not made or not all(isinstance(t, Transform) for t in made):
            raise errors.received(
                "`transforms` must be a transform or a list of them.",
                "For example [keras_norm.optimizers.centralize()].",
                transforms=transforms,
            )
        self.transforms = tuple(made)
        self.choice = VariableChoice(where)
        self.jointly = any(t.jointly for t in made)
        # {index: units} of each transform, and of all that is meant.
        self.kernels: list[dict[int, Kernel]] = []
        self.all: dict[int, Kernel] = {}

    def build(self, variables) -> None:
        """Find the variables of each."""
        self.all = self.choice.find(variables, "always")
        self.kernels = [t.find(variables, self.choice) for t in self.transforms]

    @property
    def indices(self) -> set:
        """Of all variables that are transformed."""
        return set().union(*self.kernels)

    def __call__(self, gradients, variables) -> dict:
        """{index: gradient} after all transforms.

        Args:
            gradients: {index: gradient}, at least float32.
            variables: {index: value} likewise.
        """
        gradients = dict(gradients)
        for transform, kernels_ in zip(
            self.transforms, self.kernels, strict=True
        ):
            mine = {i: k for i, k in kernels_.items() if i in gradients}
            if mine:
                gradients |= transform.of_several(gradients, variables, mine)
        return gradients

    def config(self) -> dict:
        """`transforms` and `where` as plain data."""
        return {
            "transforms": [
                keras.saving.serialize_keras_object(t) for t in self.transforms
            ],
            "where": self.choice.config(),
        }
