"""Which normalization layers of a model go into which linear layers."""

import keras

from keras_norm.core.frozen import Frozen
from keras_norm.core.kernel_wrapper import KernelWrapper
from keras_norm.models.affine_maps import affine_map
from keras_norm.models.affine_maps import is_scale_and_shift
from keras_norm.models.conversion_report import Kept
from keras_norm.models.conversion_rules import is_normalization
from keras_norm.models.fold_report import FoldChange
from keras_norm.models.folding import Folding
from keras_norm.models.folding import linear
from keras_norm.models.folding import plain_of
from keras_norm.models.layer_graph import LayerGraph


class FoldPlan:
    """Decides; nothing is made yet.

    First into the layer before, in the order of the data, so that several
    normalizations in a row go into one layer; what is left, in the opposite
    order, into the layer after.

    Args:
        model: a built Sequential or functional model.

    Attributes:
        foldings: {id of a linear layer: its `Folding`}.
        removed: the layers that are folded.
        changes: a `FoldChange` for every normalization layer.
        refused: those of kept layers that one hopes to be folded.
    """

    def __init__(self, model):
        self.graph = LayerGraph(model)
        self.foldings: dict = {}
        self.removed: list = []
        self._gone: set = set()
        self._into: dict = {}
        self._reasons: dict = {}
        self._maps: dict = {}
        calls = [c for c in self.graph.calls if relevant(c.layer)]
        for call in calls:
            self._attempt(call, self._after)
        for call in reversed(calls):
            if id(call) not in self._gone and id(call.layer) in self._maps:
                self._attempt(call, self._before)
        self.refused: list = []
        self.changes = self._listed(model)

    # One layer ----------------------------------------------------------------

    def _attempt(self, call, into):
        """Fold a call by `into`, or note why not."""
        layer = call.layer
        try:
            if id(layer) not in self._maps:
                self._maps[id(layer)] = self._map(call)
            target = into(call, self._maps[id(layer)])
        except Kept as reason:
            reasons = self._reasons.setdefault(id(layer), [])
            if str(reason) not in reasons:
                reasons.append(str(reason))
            return
        self._gone.add(id(call))
        self._into[id(layer)] = target
        self.removed.append(layer)

    def _map(self, call):
        """The scale-and-shift of a call."""
        if not call.layer.built:
            raise Kept("it is not built")
        found = affine_map(call.layer)
        constant = isinstance(getattr(call.layer, "statistics", 0), Frozen)
        if call.training and call.layer.trainable and not constant:
            raise Kept("it is called with training=True")
        return found

    def _after(self, call, found):
        """Into the layer that computes its input; gives that layer."""
        self._check_alone(call)
        t = call.inputs[0]
        source = self.graph.producer(t)
        while source is not None and id(source) in self._gone:
            t = source.inputs[0]
            source = self.graph.producer(t)
        if source is None:
            raise Kept("what it normalizes is an input")
        folding = self._folding(source, "before", call)
        if self._next(source.outputs[0]) is not call:
            raise Kept(
                f"not into `{source.name}`: "
                + self._elsewhere(source.outputs[0])
            )
        with_reason(source, folding.check_after, found)
        folding.after(found)
        return self._keep(folding)

    def _before(self, call, found):
        """Into the layer that takes its output; gives that layer."""
        self._check_alone(call)
        target = self._next(call.outputs[0])
        if target is None:
            raise Kept(self._elsewhere(call.outputs[0]))
        folding = self._folding(target, "after", call)
        with_reason(target, folding.check_before, found)
        folding.before(found)
        return self._keep(folding)

    def _keep(self, folding):
        self.foldings[id(folding.layer)] = folding
        return folding.layer

    # The graph ----------------------------------------------------------------

    def _check_alone(self, call):
        count = len(self.graph.calls_of(call.layer))
        if count > 1:
            raise Kept(f"it is shared: it is called {count} times")

    def _next(self, t):
        """The one call for which a tensor is made, beyond folded ones."""
        found = self.graph.only_consumer(t)
        while found is not None and id(found) in self._gone:
            found = self.graph.only_consumer(found.outputs[0])
        return found

    def _elsewhere(self, t) -> str:
        """Why there is no such call."""
        while True:
            if self.graph.is_output(t):
                return "a model returns what is between them"
            taking = self.graph.consumers(t)
            if len(taking) != 1 or id(taking[0]) not in self._gone:
                break
            t = taking[0].outputs[0]
        names = ", ".join(f"`{c.name}`" for c in taking)
        return f"what is between them goes to several layers, {names}"

    def _folding(self, call, place, normalization):
        """The folding of a linear layer, begun where there is none."""
        layer = call.layer
        if not linear(layer) and not isinstance(layer, KernelWrapper):
            cls = type(layer).__name__
            raise Kept(f"{place} it is `{layer.name}`, a {cls}")
        plain_of(layer)
        count = len(self.graph.calls_of(layer))
        if count > 1:
            raise Kept(
                f"not into `{layer.name}`: it is shared, called {count} times"
            )
        if id(layer) in self.foldings:
            return self.foldings[id(layer)]
        return Folding(layer, len(call.outputs[0].shape))

    # The report ---------------------------------------------------------------

    def _listed(self, model) -> list:
        """What became of each normalization layer."""
        within = {
            id(inner): call.layer
            for call in self.graph.calls
            if hasattr(call.layer, "_flatten_layers")
            for inner in call.layer._flatten_layers(include_self=False)
        }
        found = {}
        for layer in model._flatten_layers(include_self=False):
            if not relevant(layer) or id(layer) in found:
                continue
            into = self._into.get(id(layer))
            notes = list(self._reasons.get(id(layer), ())) if not into else []
            if into is not None:
                notes = lost(layer, into)
            elif not self.graph.calls_of(layer):
                owner = within.get(id(layer))
                where = "another layer" if owner is None else f"`{owner.name}`"
                notes = [f"it is within {where}, whose calls are not known"]
            path = None if into is None else path_of(into)
            found[id(layer)] = FoldChange(
                path_of(layer), label(layer), path, tuple(notes)
            )
            if into is None and is_scale_and_shift(layer):
                self.refused.append(found[id(layer)])
        return list(found.values())


def relevant(layer) -> bool:
    """Is it a normalization layer of activations?"""
    known = isinstance(layer, keras.layers.Layer) and is_normalization(layer)
    return known and not isinstance(layer, KernelWrapper)


def with_reason(call, check, found):
    """Name the layer in the reason of a check."""
    try:
        check(found)
    except Kept as reason:
        raise Kept(f"not into `{call.name}`: {reason}") from reason


def lost(layer, into) -> list:
    """In words: what the new model has no more."""
    notes = []
    if isinstance(into, KernelWrapper):
        cls = type(into).__name__
        notes.append(f"its kernel is that of {cls} now, which is gone")
    if getattr(layer, "activity_regularizer", None) is not None:
        notes.append("its activity regularizer is lost")
    return notes


def path_of(layer) -> str:
    """Where a layer is in its model."""
    return layer.path or layer.name


def label(layer) -> str:
    """Package and class."""
    cls = type(layer)
    return f"{cls.__module__.split('.')[0]}.{cls.__name__}"
