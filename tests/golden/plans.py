"""What an adapter says about a row: which layer, and where its arrays go."""

import dataclasses
from collections.abc import Callable

import numpy as np

import keras_norm as kn


def same(values):
    """The values as they are."""
    return values


@dataclasses.dataclass(frozen=True)
class Link:
    """One array of a row and the part of a weight that it is.

    Singleton axes never matter: values are reshaped to the part and back.

    Args:
        weight: name of the layer's weight.
        part: index into the weight.
        to: from the row's values to the layer's.
        back: a gradient (of a parameter) or a value (of a state) from the
            layer's to the row's.
    """

    weight: str
    part: object = ...
    to: Callable = same
    back: Callable = same

    def write(self, weights, values):
        """Put the row's values into `weights`, {name: array}."""
        weight = weights[self.weight]
        part = weight[self.part]
        weight[self.part] = np.reshape(self.to(values), part.shape)

    def read(self, weights, shape):
        """The row's values of this shape from {name: array}."""
        values = self.back(weights[self.weight][self.part])
        return np.reshape(values, shape)


def transposed(weight, part=...):
    """A kernel (out, in) whose part of the weight is (in, out)."""
    return Link(weight, part, np.transpose, np.transpose)


AFFINE = {"gamma": "gamma", "beta": "beta"}


@dataclasses.dataclass
class Plan:
    """How to check a row against a layer.

    Args:
        arguments: the layer's arguments, without `axis` and the two of
            `affine`.
        links: {role: weight name or `Link`} of parameters and state; a role
            is the text that the row gives, of states without the shape in
            parentheses and "after step t".
        affine: add `center` and `scale` by what parameters the row has.
        layer: the layer's name where it is not the row's method.
        make: a function of `axis` that gives the layer, instead.
        outputs: names of the outputs of a call, in order.
        order: permutation of the channels.
        stored_axis: where the channels are, if not where the layout says.
        axes: the layer's `axis` for the arrays as stored; no other
            arrangement is then tested.
        probes: {name: f(plan, first input, axis)} for arrays that the layer
            does not return.
        inference_state: inference is met with the state set to the row's.
        start: {weight: value} of state that the row's config gives.
        mask: f(row, the input `mask`, axis) -> mask of the call.
    """

    arguments: dict = dataclasses.field(default_factory=dict)
    links: dict = dataclasses.field(default_factory=dict)
    affine: bool = True
    layer: str = ""
    make: Callable | None = None
    outputs: tuple = ("y",)
    order: np.ndarray | None = None
    stored_axis: int | None = None
    axes: tuple | None = None
    probes: dict = dataclasses.field(default_factory=dict)
    inference_state: bool = False
    start: dict = dataclasses.field(default_factory=dict)
    mask: Callable | None = None

    def complete(self, row):
        """This plan with what follows from the row."""
        links = {**AFFINE, **self.links}
        self.links = {
            role: Link(to) if isinstance(to, str) else to
            for role, to in links.items()
        }
        self.layer = self.layer or row.method
        if self.affine:
            weights = {
                self.links[role].weight
                for role in row.parameters.values()
                if role in self.links
            }
            self.arguments.setdefault("center", "beta" in weights)
            self.arguments.setdefault("scale", "gamma" in weights)
        return self

    def layer_of(self, axis, **keywords):
        """The layer for this `axis`."""
        if self.make:
            return self.make(axis, **keywords)
        cls = getattr(kn.layers, self.layer)
        return cls(axis=axis, **{**self.arguments, **keywords})

    def arrangements(self, row):
        """{name: (where the channels go, the layer's `axis`)}."""
        if self.axes:
            return {"stored": (None, self.axes)}
        if row.rank == 2:
            return {"last": (None, -1)}
        return {"last": (-1, -1), "first": (1, 1)}
