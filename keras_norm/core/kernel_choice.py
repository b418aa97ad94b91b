"""Which of an optimizer's variables are kernels to be treated, and how read.

An optimizer sees variables without their layers. Kernels are chosen by name,
by a function of the variable, or by the layers that own them; only the last
knows convolution groups, gates and which axes are output neurons.
"""

import dataclasses
from typing import Any

import keras

from keras_norm import errors
from keras_norm.core import kernels
from keras_norm.core import variable_kernels
from keras_norm.core.kernel import Kernel
from keras_norm.core.model_copies import leaves

# Last parts of the paths of the kernels of Keras' layers.
NAMES = ("kernel", "recurrent_kernel", "depthwise_kernel", "pointwise_kernel")


@dataclasses.dataclass(frozen=True)
class Reading:
    """A variable as matrices (count, outputs, fan-in).

    Args:
        kernel: the variable as a kernel.
        parts: matrices that its outputs are cut into.
    """

    kernel: Kernel
    parts: int

    @property
    def shape(self) -> tuple:
        """(matrices, outputs, fan-in)."""
        return self.kernel.matrices_shape(self.parts)

    def matrices(self, t):
        """A tensor of the kernel's shape -> matrices."""
        return self.kernel.matrices(t, self.parts)

    def of_matrices(self, m):
        """The inverse of `matrices`."""
        return self.kernel.of_matrices(m)

    def cut(self, parts: int):
        """The same with each matrix cut into so many."""
        return dataclasses.replace(self, parts=self.parts * parts)

    def refused(self, rule: str) -> ValueError:
        """The error for a kernel that cannot be treated."""
        count, outputs, fan_in = self.shape
        return errors.received(
            f"The kernel {self.kernel.path!r} {rule}",
            "Leave it out of `where`. (`axis` says which axes are output "
            "neurons; layers in `where` tell gates and groups, too.)",
            shape=self.kernel.shape,
            matrices=count,
            outputs=outputs,
            fan_in=fan_in,
        )


class KernelChoice:
    """Which kernels of an optimizer's variables, and how they are read.

    Keras saves what an optimizer has as attributes, and in lists and dicts:
    in here it does not look, where there may be layers.

    Args:
        where: a name, a layer or model, a list of either, a function of the
            variable, None for all that are named as kernels; or what
            `config` gives.
        axis: output axes where no layer says them; None: the last.

    Attributes:
        readings: {index of the variable: how it is read}, once it is built.
    """

    def __init__(self, where=None, axis=None):
        self.where = checked(where)
        self.axis = variable_kernels.checked_axis(axis)
        self.readings: dict[int, Reading] = {}
        # {id of a variable: index} of the optimizer, once it is built.
        self._indices: dict[int, int] = {}

    @property
    def _layers(self):
        listed = isinstance(self.where, list)
        return listed and isinstance(self.where[0], keras.layers.Layer)

    def config(self) -> dict:
        """`where` and `axis` as plain data: layers by the paths of kernels."""
        where = self.where
        if callable(where):
            where = keras.saving.serialize_keras_object(where)
        elif self._layers:
            where = [
                {
                    "path": kernel.value.path,
                    "layer": layer.name,
                    "index": self._indices.get(id(kernel.value)),
                    "axes": list(kernel.axes),
                    "blocks": list(kernel.blocks),
                    "parts": kernel.gates * kernel.groups,
                }
                for layer, kernel in _of_layers(where, self.axis)
            ]
        return {"where": where, "axis": self.axis}

    def find(self, variables) -> dict[int, Reading]:
        """{index: reading} of the chosen ones among `variables`.

        Raises:
            ValueError: nothing, or what is not there, is chosen.
        """
        found = {}
        self._indices = {id(v): i for i, v in enumerate(variables)}
        if self._layers:
            for _, kernel in _of_layers(self.where, self.axis):
                index = self._indices.get(id(kernel.value))
                if index is not None:
                    parts = kernel.gates * kernel.groups
                    found[index] = Reading(kernel, parts)
        elif isinstance(self.where, list) and isinstance(self.where[0], dict):
            found = _recorded(variables, self.where)
        else:
            found = _named(variables, self.where, self.axis)
        if not found:
            where = self.where
            if self._layers:
                where = [layer.name for layer in where]
            raise errors.received(
                "`where` must choose at least one of the optimizer's "
                "variables.",
                where=where,
                variables=[variable.path for variable in variables],
            )
        return found


def checked(where):
    """`where` as a list of names, layers or dicts; a function; None."""
    if where is None:
        return None
    if isinstance(where, dict) and "class_name" in where:
        where = keras.saving.deserialize_keras_object(where)
    kinds = (str, dict, keras.layers.Layer)
    if isinstance(where, kinds):
        return [where]
    if callable(where):
        return where
    several = isinstance(where, (list, tuple)) and len(where)
    if not several or not any(
        all(isinstance(w, kind) for w in where) for kind in kinds
    ):
        raise errors.received(
            "`where` must be a name, a layer, a list of either, a function of "
            "the variable, or None.",
            where=where,
        )
    return list(where)


def _of_layers(chosen, axis):
    """[(layer, kernel)] of layers and models."""
    found = []
    for layer in chosen:
        model = isinstance(layer, keras.Model)
        for leaf in leaves(layer) if model else [layer]:
            if model and not kernels.known(leaf):
                continue
            if not leaf.built:
                raise errors.received(
                    "A layer in `where` must be built.",
                    "Build the model first, or give names.",
                    layer=leaf.name,
                )
            found += [(leaf, k) for k in kernels.of(leaf, axis)]
    return found


def _tail(path, layer):
    """The path of a kernel from its layer on: models may be renamed."""
    parts = path.split("/")
    if layer not in parts:
        return path
    return "/".join(parts[len(parts) - 1 - parts[::-1].index(layer) :])


def within(name, path):
    """Is `name` one part of `path`, or several in their order?"""
    return f"/{name}/" in f"/{path}/"


def index_of(entry, variables) -> int:
    """The variable of which a saved choice says path, layer and index."""
    paths = [variable.path for variable in variables]
    tail = _tail(entry["path"], entry["layer"])
    matching = [i for i, path in enumerate(paths) if within(tail, path)]
    if entry["index"] in matching:
        # Layers of several models may have the same name.
        matching = [entry["index"]]
    if len(matching) != 1:
        raise errors.received(
            f"`where` must choose one variable for {entry['path']!r}, "
            "which belongs to a layer of the saved model.",
            "Give names, or the layers of this model.",
            matching=[paths[i] for i in matching],
            variables=paths,
        )
    return matching[0]


def _recorded(variables, entries):
    found = {}
    for entry in entries:
        index = index_of(entry, variables)
        variable = variables[index]
        axes, blocks = tuple(entry["axes"]), tuple(entry["blocks"])
        kernel = Kernel(variable.path, None, "", variable, "", axes, blocks)
        found[index] = Reading(kernel, entry["parts"])
    return found


def _named(variables, where, axis):
    found = {}
    for index, variable in enumerate(variables):
        last = variable.path.split("/")[-1]
        kernel = last in NAMES or last == "embeddings"
        if where is None:
            # By its shape alone a depthwise kernel says nothing of neurons,
            # and one neuron has none to be orthogonal to.
            single = variable.shape[-1] == 1 and axis is None
            wanted = last in NAMES and "depthwise" not in last and not single
        elif callable(where):
            wanted = bool(where(variable))
        else:
            # The name of a layer stands for its kernels.
            wanted = any(
                within(name, variable.path)
                and (kernel or name.split("/")[-1] == last)
                for name in where
            )
        if wanted:
            found[index] = _read(variable, axis)
    if isinstance(where, list):
        for name in where:
            if not any(within(name, found[i].kernel.path) for i in found):
                raise errors.unknown_name(
                    "where", name, [variable.path for variable in variables]
                )
    return found


def _read(variable: Any, axis) -> Reading:
    """A variable of which only name and shape are known."""
    last = variable.path.split("/")[-1]
    if axis is None and last == "embeddings":
        axis = "embedding"
    kernel = dataclasses.replace(
        variable_kernels.of_tensor(variable, axis), path=variable.path
    )
    parts, shape = 1, kernel.shape
    if (
        last == "recurrent_kernel"
        and axis is None
        and shape[-1] % shape[-2] == 0
    ):
        # (units, gates x units)
        parts = shape[-1] // shape[-2]
    return Reading(kernel, parts)
