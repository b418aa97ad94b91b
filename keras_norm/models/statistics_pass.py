"""Batches through a model whose normalization layers follow each of them.

Everything else infers: no dropout, no noise. A normalization layer measures
its input, makes the measured statistics (or what a tool makes of them) its
state and normalizes by it, so that a layer behind it sees what it sees in
training. No weight, momentum or `trainable` is touched, and what was replaced
is put back whatever happens.
"""

import contextlib
import inspect

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core.frozen import Frozen
from keras_norm.core.update_count import UpdateCount
from keras_norm.models.layer_calls import Call
from keras_norm.models.layer_calls import replaced_calls
from keras_norm.models.model_layers import Found
from keras_norm.models.own_statistics import OwnState


def frozen(layer) -> bool:
    """Are its statistics meant to stay?"""
    fixed = isinstance(getattr(layer, "statistics", None), Frozen)
    fixed = fixed or getattr(layer, "freeze_statistics", False)
    return fixed or not layer.trainable


class StatisticsPass:
    """The layers of a model whose statistics a tool is to set.

    Args:
        model: a built model.
        layers: which layers; see `chosen`.
        include_frozen: frozen ones too.
    """

    def __init__(self, model, layers=None, include_frozen=False):
        if not model.built:
            raise errors.received(
                "`model` must be built.",
                "Call it on a batch of data, or `model.build(input_shape)`.",
                model=model.name,
            )
        self.model = model
        found = Found(model)
        wanted = chosen(layers, found)
        unknown = [
            one.name
            for one in found.unknown
            if wanted(one) and (include_frozen or not frozen(one))
        ]
        readings = [r for r in found.readings if wanted(r.layer)]
        if unknown:
            raise errors.received(
                "The statistics of every normalization layer must be averages "
                "over batches, outside of recurrent cells.",
                "Name the other layers by `layers`.",
                unknown=unknown,
                others=[r.layer.name for r in readings],
            )
        if not readings:
            raise errors.received(
                "`model` must have normalization layers with statistics.",
                model=model.name,
                layers=layers,
            )
        self.readings = [
            r for r in readings if include_frozen or not frozen(r.layer)
        ]
        if not self.readings:
            raise errors.received(
                "`include_frozen` must be True where all normalization layers "
                "are frozen.",
                frozen=[r.layer.name for r in readings],
                include_frozen=False,
            )
        stuck = [
            r.layer.name
            for r in self.readings
            if isinstance(r, OwnState) and frozen(r.layer)
        ]
        if stuck:
            raise errors.received(
                "Frozen layers whose statistics only a training step measures "
                "must be set free.",
                "Set `trainable`, or leave them out by `layers`.",
                frozen=stuck,
            )
        self.loops = found.loops

    @contextlib.contextmanager
    def restored(self):
        """The state of the layers as it was, after the block."""
        variables = {id(v): v for r in self.readings for v in r.layer.variables}
        saved = [(v, ops.copy(v)) for v in variables.values()]
        counts = [count for count in map(count_of, self.readings) if count]
        known = [count.known for count in counts]
        for count in counts:
            # Inference by the statistics of a batch is no inference too early.
            count.forget()
        try:
            yield
        finally:
            for variable, value in saved:
                variable.assign(value)
            for count, value in zip(counts, known, strict=True):
                count.known = value

    @contextlib.contextmanager
    def following(self, follow):
        """Calls of the model within the block are of the pass.

        Args:
            follow: function of (reading, statistics of its input, call) that
                returns what becomes the state.
        """

        def function(reading):
            def call(own, args, kwargs):
                call = Call(own, args, kwargs)
                found = follow(reading, reading.measure(call), call)
                reading.write(found)
                return call.run()

            return call

        calls = [(r.layer, function(r)) for r in self.readings]
        calls += [(loop, one_by_one(loop)) for loop in self.loops]
        with replaced_calls(calls):
            yield

    def infer(self, inputs):
        """What the model computes, not in training."""
        takes = inspect.signature(self.model.call).parameters
        options = {"training": False} if "training" in takes else {}
        return self.model(inputs, **options)

    def collect(
        self, batches, between=True, prior=False, shares=None, progress=None
    ):
        """{reading: statistics} of all batches together.

        Args:
            batches: inputs of the model.
            between: add the variance of the batches' means to the mean of
                their variances.
            prior: the state takes part, as one more batch, or with `shares` as
                what they begin with.
            shares: {reading: what each batch counts}, for moving averages
                (without the variance of the means); None: its entries.
            progress: called with the number of batches done.

        Returns:
            Without layers that were not called.
        """
        between = between and shares is None
        kept = {r: r.kept(between) for r in self.readings} if prior else {}
        collected: dict = dict(kept) if shares else {}
        calls: dict = {}

        def follow(reading, found, call):
            old = collected.get(reading)
            if old is not None:
                share = shares[reading] if shares else None
                collected[reading] = old.merged(found, between, share)
            else:
                collected[reading] = found
            calls[reading] = calls.get(reading, 0) + 1
            return found

        with self.restored(), self.following(follow):
            for number, inputs in enumerate(batches):
                self.infer(inputs)
                if progress:
                    progress(number + 1)
        if prior and not shares:
            for reading, number in calls.items():
                new = collected[reading]
                old = kept[reading].of_weight(new.count / number)
                collected[reading] = old.merged(new, between)
        return {reading: collected[reading] for reading in calls}


def count_of(reading):
    """How often training has updated the statistics, if that is counted."""
    count = getattr(reading.layer, "updates", None)
    return count if isinstance(count, UpdateCount) else None


def one_by_one(loop):
    """A `TimeDistributed` call, step after step: nothing is compiled."""

    def call(own, args, kwargs):
        call = Call(own, args, kwargs)
        x, mask = call.inputs, call.mask
        takes = inspect.signature(loop.layer.call).parameters
        steps = []
        for t in range(int(ops.shape(x)[1])):
            options = {"training": False} if "training" in takes else {}
            if mask is not None and "mask" in takes:
                options["mask"] = mask[:, t]
            steps.append(loop.layer(x[:, t], **options))
        return keras.tree.map_structure(
            lambda *each: ops.stack(each, axis=1), *steps
        )

    return call


def chosen(layers, found):
    """`layers` as a function of a layer.

    Args:
        layers: None for all, a layer's name, a class, a layer, several of
            these, or a function of a layer.
        found: the normalization layers that there are.
    """
    if layers is None:
        return lambda layer: True
    if isinstance(layers, (str, type, keras.layers.Layer)):
        layers = [layers]
    if callable(layers):
        return layers
    several = isinstance(layers, (list, tuple, set, frozenset))
    kinds_known = (str, type, keras.layers.Layer)
    if not several or not all(isinstance(e, kinds_known) for e in layers):
        raise errors.received(
            "`layers` must be a name, a layer, a class, a list of these, or a "
            "function of a layer.",
            layers=layers,
        )
    kinds = tuple(entry for entry in layers if isinstance(entry, type))
    names = [entry for entry in layers if isinstance(entry, str)]
    themselves = [e for e in layers if isinstance(e, keras.layers.Layer)]
    known = [r.layer for r in found.readings] + found.unknown
    for name in names:
        if name not in [layer.name for layer in known]:
            raise errors.unknown_name(
                "layers", name, [layer.name for layer in known]
            )
    for entry in themselves:
        if not any(entry is layer for layer in known):
            raise errors.received(
                "`layers` must name normalization layers of the model.",
                layers=entry.name,
            )

    def wanted(layer):
        return (
            isinstance(layer, kinds)
            or layer.name in names
            or any(layer is entry for entry in themselves)
        )

    return wanted
