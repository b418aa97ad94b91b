"""Outputs and gradients of a model with one kernel scaled."""

from typing import NamedTuple

import numpy as np
from keras import ops
from keras import tree

from keras_norm import errors
from keras_norm.analysis import autodiff
from keras_norm.analysis import plots
from keras_norm.core import model_kernels
from keras_norm.core import variable_kernels


class KernelInvariance(NamedTuple):
    """What scaling one kernel does.

    Args:
        name: path of the weight.
        norm: length of the whole kernel, w.
        output_change: (factors,), largest change of an output, as a fraction
            of the largest output.
        gradient_error: (factors,), ||a g(a w) - g(w)|| / ||g(w)||.
        cosine: of the angle between w and g.
        neuron_cosines: (neurons,), of each output neuron's.
        effective_learning_rate: learning rate / ||w||^2; None: not compiled.
        invariant: the function depends on the direction of w only.
        by_neuron: on that of each neuron's part only.
    """

    name: str
    norm: float
    output_change: np.ndarray
    gradient_error: np.ndarray
    cosine: float
    neuron_cosines: np.ndarray
    effective_learning_rate: float | None
    invariant: bool
    by_neuron: bool


class ScaleInvariance(tuple):
    """`KernelInvariance`s in the order of the model's weights."""

    __slots__ = ()

    def plot(self, ax=None):
        """What differs from invariance, one place for each kernel.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        ax = plots.axes(ax)
        drawn = {
            "change of outputs": [np.max(e.output_change) for e in self],
            "error of gradients": [np.max(e.gradient_error) for e in self],
            "cosine": [abs(e.cosine) for e in self],
        }
        for label, values in drawn.items():
            # The logarithmic axis has no 0.
            ax.plot(np.maximum(values, 1e-9), "o", label=label)
        ax.set_yscale("log")
        ax.legend()
        return plots.named(ax, [entry.name for entry in self])


class Scaling:
    """A `ModelLoss` at its weights, and with one of them scaled."""

    def __init__(self, function, factors):
        self.function, self.factors = function, factors
        self.values = function.values
        self.everything = autodiff.compiled(
            lambda tensors: (
                tree.flatten(function.outputs(tensors)),
                autodiff.gradients(function, tensors)[1],
            )
        )
        self.places = {id(v): i for i, v in enumerate(function.variables)}
        self.y, self.g = self.at(self.values)

    def at(self, values):
        """(all outputs, all gradients) as NumPy."""
        y, g = self.everything(values)
        y = np.concatenate([np.ravel(array(one)) for one in y])
        return y, [array(one) for one in g]

    def measure(self, variable, kernel, rate, tolerance):
        """All of one kernel."""
        place = self.places[id(variable)]
        w, g = array(self.values[place]), self.g[place]
        changes, deviations = [], []
        for factor in self.factors:
            values = list(self.values)
            values[place] = ops.convert_to_tensor(factor * w, variable.dtype)
            y, scaled = self.at(values)
            changes.append(ratio(np.max(np.abs(y - self.y)), largest(self.y)))
            apart = np.linalg.norm(factor * scaled[place] - g)
            deviations.append(ratio(apart, np.linalg.norm(g)))
        inner = np.sum(w * g, axis=kernel.reduced)
        lengths = [np.sqrt(np.sum(t * t, axis=kernel.reduced)) for t in (w, g)]
        cosines = np.ravel(ratio(inner, lengths[0] * lengths[1]))
        norm = float(np.linalg.norm(w))
        cosine = float(ratio(np.sum(w * g), norm * np.linalg.norm(g)))
        kept = max(*changes, *deviations, abs(cosine)) <= tolerance
        return KernelInvariance(
            variable.path,
            norm,
            np.asarray(changes),
            np.asarray(deviations),
            cosine,
            cosines,
            None if rate is None else float(ratio(rate, norm**2)),
            bool(kept),
            bool(kept and largest(cosines) <= tolerance),
        )


def chosen(model, trained, variables):
    """[(variable, kernel)] of those that are wanted."""
    if variables is None:
        return model_kernels.of_model(model)
    table = {id(v): k for v, k in model_kernels.of_model(model)}
    paths = {v.path: v for v in trained}
    found = []
    for one in variables:
        if isinstance(one, str):
            if one not in paths:
                raise errors.unknown_name("variables", one, list(paths))
            one = paths[one]
        if not any(one is v for v in trained):
            raise errors.received(
                "`variables` must be weights that gradients of the model "
                "train.",
                variables=getattr(one, "path", one),
            )
        axis = () if len(one.shape) < 2 else None
        kernel = table.get(id(one)) or variable_kernels.of_tensor(one, axis)
        found.append((one, kernel))
    return found


def learning_rate(model):
    """Of the optimizer, or None."""
    optimizer = getattr(model, "optimizer", None)
    return None if optimizer is None else float(array(optimizer.learning_rate))


def array(tensor):
    """A tensor as NumPy float64."""
    return np.asarray(ops.convert_to_numpy(tensor), "float64")


def largest(values):
    """The largest absolute value."""
    return np.max(np.abs(values))


def ratio(above, below):
    """above / below; 0 / 0 is 0."""
    return above / np.where((below == 0) & (above == 0), 1.0, below)
