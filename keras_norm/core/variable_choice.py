"""Which of an optimizer's variables a rule is for, and what their units are.

A unit is what has a norm or a mean of its own: an output neuron of a kernel,
a token of an embedding; of other variables (bias, gamma, beta, all vectors)
the whole. Layers tell the units by the table of `kernels`; without them there
are only the names and shapes of variables.
"""

import dataclasses

import keras

from keras_norm import errors
from keras_norm.core import kernel_choice
from keras_norm.core import kernels
from keras_norm.core.kernel import Kernel

# Last parts of the paths of what is a vector in meaning, whatever its rank:
# the bias of attention has an axis of heads.
_VECTORS = ("bias", "beta", "gamma")


def is_vector(kernel: Kernel) -> bool:
    """Is this a variable without units?"""
    last = kernel.path.split("/")[-1]
    return len(kernel.shape) <= 1 or last in _VECTORS


def read(variable, path=None) -> Kernel:
    """A variable, or tensor, of which only name and shape are known."""
    path = variable.path if path is None else path
    rank, last = len(variable.shape), path.split("/")[-1]
    kind = ""
    if last == "embeddings":
        kind = "embedding"
    elif last == "depthwise_kernel":
        kind = "depthwise_convolution"
    axes: tuple = ()
    if rank > 1 and last not in _VECTORS:
        axes = kernels.output_axes(kind or -1, rank)
    return Kernel(path, None, "", variable, kind, axes)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A variable that `where` may mean.

    Args:
        kernel: the variable and its units.
        layer: name of the layer that holds it, where layers were given.
        named: is it, or its layer, meant by itself and not as a part of a
            model or of everything?
    """

    kernel: Kernel
    layer: str = ""
    named: bool = False


class VariableChoice:
    """Which variables, by names, layers, a function; and their units.

    Keras saves what an optimizer has as attributes, and in lists and dicts:
    in here it does not look, where there may be layers.

    Args:
        where: a name, a layer or model, a list of either, a function of the
            variable, None for all; or what `config` gives.
    """

    def __init__(self, where=None):
        self.where = kernel_choice.checked(where)
        # {id of a variable: index} of the optimizer, once it is built.
        self._indices: dict[int, int] = {}

    def _are(self, kind):
        listed = isinstance(self.where, list)
        return listed and isinstance(self.where[0], kind)

    @property
    def names_variables(self) -> bool:
        """Does it say of each variable, not of layers, that it is meant?"""
        return callable(self.where) or self._are(str)

    def config(self):
        """`where` as plain data: layers by the paths of their variables."""
        if callable(self.where):
            return keras.saving.serialize_keras_object(self.where)
        if not self._are(keras.layers.Layer):
            return self.where
        return [
            {
                "path": chosen.kernel.path,
                "layer": chosen.layer,
                "index": self._indices.get(id(variable)),
                "axes": list(chosen.kernel.axes),
                "blocks": list(chosen.kernel.blocks),
                "kind": chosen.kernel.kind,
                "named": chosen.named,
            }
            for variable, chosen in _of_layers(self.where)
        ]

    def find(self, variables, vectors="never") -> dict[int, Kernel]:
        """{index: units} of the chosen ones among `variables`.

        Args:
            variables: of the optimizer.
            vectors: those without units: "never", "always", or only if they
                are "named" or a function chooses them. Embeddings are left
                out as a part of a model or of everything but by "always".

        Raises:
            ValueError: nothing, or what is not there, is chosen.
        """
        self._indices = {id(v): i for i, v in enumerate(variables)}

        def wanted(chosen):
            if vectors == "always":
                return True
            if is_vector(chosen.kernel):
                return chosen.named and vectors == "named"
            return chosen.named or chosen.kernel.kind != "embedding"

        meant = self._meant(variables)
        found = {i: c.kernel for i, c in meant.items() if wanted(c)}
        if not found and self.where is not None:
            where = self.where
            if self._are(keras.layers.Layer):
                where = [layer.name for layer in where]
            raise errors.received(
                "`where` must choose at least one of the optimizer's "
                "variables"
                + (" of two axes or more." if vectors == "never" else "."),
                where=where,
                variables=[variable.path for variable in variables],
            )
        return found

    def _meant(self, variables):
        """{index: Chosen}, before variables without units are left out."""
        if self.where is None:
            return {i: Chosen(read(v)) for i, v in enumerate(variables)}
        if callable(self.where):
            return {
                i: Chosen(read(v), named=True)
                for i, v in enumerate(variables)
                if self.where(v)
            }
        if self._are(str):
            return _of_names(self.where, variables)
        if self._are(dict):
            found = {}
            for entry in self.where:
                index = kernel_choice.index_of(entry, variables)
                kernel = Kernel(
                    variables[index].path,
                    None,
                    "",
                    variables[index],
                    entry["kind"],
                    tuple(entry["axes"]),
                    tuple(entry["blocks"]),
                )
                found[index] = Chosen(kernel, entry["layer"], entry["named"])
            return found
        return {
            self._indices[id(variable)]: chosen
            for variable, chosen in _of_layers(self.where)
            if id(variable) in self._indices
        }


def _of_names(names, variables):
    found = {}
    for index, variable in enumerate(variables):
        matching = [n for n in names if kernel_choice.within(n, variable.path)]
        if not matching:
            continue
        kernel = read(variable)
        last = variable.path.split("/")[-1]
        # The name of a layer stands for its kernels.
        named = any(n.split("/")[-1] == last for n in matching)
        found[index] = Chosen(kernel, named=named or not is_vector(kernel))
    for name in names:
        if not any(kernel_choice.within(name, v.path) for v in variables):
            paths = [variable.path for variable in variables]
            raise errors.unknown_name("where", name, paths)
    return found


def _of_layers(chosen):
    """[(variable, Chosen)] of layers and models, each once."""
    table: dict[int, Kernel] = {}
    owners: dict[int, str] = {}
    found: dict[int, tuple] = {}
    for root in chosen:
        if not root.built:
            raise errors.received(
                "A layer in `where` must be built.",
                "Build the model first, or give names.",
                layer=root.name,
            )
        for layer in root._flatten_layers():
            owners |= {id(v): layer.name for v in layer._trainable_variables}
            if layer.built and kernels.known(layer):
                table |= {id(k.value): k for k in kernels.of(layer)}
        # As a layer rather than as a part of a model.
        alone = not isinstance(root, keras.Model)
        for v in root.trainable_variables:
            kernel = table.get(id(v))
            if kernel is None:
                kernel = read(v)
            kernel = dataclasses.replace(kernel, path=v.path)
            named = alone and not is_vector(kernel)
            owner = owners.get(id(v), root.name)
            if id(v) not in found or named:
                found[id(v)] = (v, Chosen(kernel, owner, named))
    return list(found.values())
