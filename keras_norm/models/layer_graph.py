"""The calls of a model's layers as a graph, with nested models opened.

A nested model that is called once is seen through: what it is given is its
input, what it returns is the output of its last layer. One that is called
several times is one layer to the graph around it; its own calls are listed
too, between inputs and outputs of their own.

`graph_copies.rebuilt` makes a model of which some layers are replaced or left
out.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import keras

from keras_norm import errors
from keras_norm.core.model_copies import check
from keras_norm.models.layer_copies import is_graph


@dataclass(frozen=True, eq=False)
class LayerCall:
    """One call of a layer.

    Attributes:
        layer: the layer, or a bare operation of keras.ops; a nested model
            where it is not opened.
        inputs: all tensors among its arguments, in order.
        outputs: the tensors it returns.
        args: its positional arguments, as they were given.
        kwargs: its arguments by name.
        training: what was given for `training` to a model that it is in, or to
            it, or its default; of several calls of a model True if one is.
        model: the model in whose graph the call is.
    """

    layer: Any
    inputs: tuple
    outputs: tuple
    args: tuple
    kwargs: dict
    training: bool | None
    model: keras.Model

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name


class LayerGraph:
    """The calls of a model's layers, in an order in which they can run.

    Tensors are symbolic. Those of the model at hand and of models within it
    that are the same one are represented by one of them: `tensor` gives it.

    Args:
        model: a built Sequential or functional model.

    Raises:
        ValueError: another model.

    Attributes:
        calls: all calls, but of models that are opened.
        inputs: the tensors that the model is given.
        outputs: the tensors that it returns.
    """

    def __init__(self, model: keras.Model):
        check(model)
        if not opened(model):
            raise errors.received(
                "`model` must have a graph of symbolic tensors.",
                "Give the Sequential model a `keras.Input` of one tensor.",
                model=model.name,
            )
        self.model = model
        self._same: dict = {}
        # What is used in a way that the graph does not show.
        self._ends: dict = {}
        self._uses = uses(model, {})
        self._visited: set = set()
        self.calls: list[LayerCall] = []
        self._visit(model, None)
        self.inputs = self._flat(function_of(model).inputs)
        self.outputs = self._flat(function_of(model).outputs)
        self._ends |= {id(t): t for t in self.outputs}
        self._producers = {
            id(t): call for call in self.calls for t in call.outputs
        }
        self._consumers: dict = {}
        self._of_layers: dict = {}
        for call in self.calls:
            self._of_layers.setdefault(id(call.layer), []).append(call)
            for t in {id(t): t for t in call.inputs}.values():
                self._consumers.setdefault(id(t), []).append(call)

    # Questions ----------------------------------------------------------------

    def tensor(self, t):
        """The tensor that represents `t`."""
        while id(t) in self._same:
            t = self._same[id(t)]
        return t

    def producer(self, t) -> LayerCall | None:
        """The call that makes a tensor; None: it is an input."""
        return self._producers.get(id(self.tensor(t)))

    def consumers(self, t) -> list[LayerCall]:
        """The calls that take a tensor, each once."""
        return self._consumers.get(id(self.tensor(t)), [])

    def is_output(self, t) -> bool:
        """Does the model, or one that is not opened, return this tensor?"""
        return id(self.tensor(t)) in self._ends

    def only_consumer(self, t) -> LayerCall | None:
        """The one call for which a tensor is made, if there is just one."""
        found = self.consumers(t)
        alone = len(found) == 1 and not self.is_output(t)
        return found[0] if alone else None

    def calls_of(self, layer) -> list[LayerCall]:
        """All calls of a layer, in all graphs: several if it is shared."""
        return self._of_layers.get(id(layer), [])

    # Making -------------------------------------------------------------------

    def _visit(self, model, training):
        """List the calls of a model, once."""
        if id(model) in self._visited:
            return
        self._visited.add(id(model))
        for node in nodes(model):
            layer, arguments = node.operation, node.arguments
            given = training_of(layer, arguments)
            # As Keras has it, the call of the model around it decides.
            given = given if training is None else training
            if opened(layer):
                function = function_of(layer)
                flags = self._uses[id(layer)]
                if len(flags) == 1:
                    self._join(function.inputs, node.input_tensors)
                    self._join(node.outputs, function.outputs)
                    self._visit(layer, given)
                    continue
                known = all(flag is not None for flag in flags)
                self._visit(layer, any(flags) if any(flags) or known else None)
                ends = self._flat(function.outputs)
                self._ends |= {id(t): t for t in ends}
            self.calls.append(
                LayerCall(
                    layer,
                    self._flat(node.input_tensors),
                    self._flat(node.outputs),
                    tuple(arguments.args),
                    dict(arguments.kwargs),
                    given,
                    model,
                )
            )

    def _join(self, tensors, others):
        """Let tensors be represented as others are."""
        for t, other in zip(tensors, others, strict=True):
            self._same[id(t)] = other

    def _flat(self, tensors):
        return tuple(self.tensor(t) for t in tensors)


def opened(layer) -> bool:
    """Has it a graph of its own? Not every Sequential model has."""
    return is_graph(layer) and function_of(layer) is not None


def function_of(model):
    """What holds the graph of a model: Sequential ones keep it inside."""
    sequential = isinstance(model, keras.Sequential)
    return model._functional if sequential else model


def nodes(model) -> list:
    """The nodes of a model's graph, in an order in which they can run."""
    by_depth = function_of(model)._nodes_by_depth
    return [
        node
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if node.operation is not None and not node.is_input
    ]


def uses(model, found) -> dict:
    """{id of a nested model: `training` of each call}, in all graphs."""
    for node in nodes(model):
        layer = node.operation
        if opened(layer):
            first = id(layer) not in found
            flag = training_of(layer, node.arguments)
            found.setdefault(id(layer), []).append(flag)
            if first:
                uses(layer, found)
    return found


def training_of(layer, arguments) -> bool | None:
    """What a call was given for `training`."""
    if "training" in arguments.kwargs:
        return arguments.kwargs["training"]
    names = inspect.signature(layer.call).parameters
    return dict(zip(names, arguments.args, strict=False)).get("training")
