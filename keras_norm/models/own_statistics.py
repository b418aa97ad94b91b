"""State that only the layer itself can measure: by a step without memory.

With momentum 0 the moving averages after a training step are the statistics
of its batch, whatever they are.
"""

import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.core.substitution import substituted
from keras_norm.models.collected_statistics import Collected
from keras_norm.models.collected_statistics import aligned
from keras_norm.models.layer_calls import assign
from keras_norm.models.layer_calls import host

# For the measurement: nothing is kept, nothing is random.
WITHOUT = {"momentum": 0.0, "dropout": 0.0, "recurrent_dropout": 0.0}


def moving(layer):
    """The variables of a layer that are moving averages, by their paths."""
    found: dict = {}
    for variable in layer.weights:
        if "moving_" in variable.name:
            found[f"{len(found)} {variable.name}"] = variable
    return found


class OwnState:
    """Averages over the batches of what the layer keeps of each.

    A moving variance is taken about the moving mean of the same name.

    Args:
        layer: a layer with `momentum` and weights moving_....
    """

    def __init__(self, layer):
        self.layer = layer
        self.variables = moving(layer)
        names = {name.split()[1]: name for name in self.variables}
        self.about = {
            name: names[short.replace("variance", "mean")]
            for short, name in names.items()
            if short.endswith("variance")
            and short.replace("variance", "mean") in names
        }
        self.checked = False

    def measure(self, call) -> Collected:
        """The state after a step that keeps nothing of the one before."""
        found = self.after(call, 0.0)
        if not self.checked:
            other = self.after(call, 1.0)
            for name in found:
                if not np.allclose(found[name], other[name], 1e-3, 1e-4):
                    raise unknown(self.layer)
            self.checked = True
        values = {name: value[None] for name, value in found.items()}
        return Collected(self.count(call)[None], values, self.about)

    def after(self, call, before):
        """The state after a training step, starting from one number."""
        layer = self.layer
        saved = [(v, ops.copy(v)) for v in layer.variables]
        parts = (getattr(layer, name, None) for name in ("cell", "statistics"))
        owners = (layer, *parts)
        places = [
            (owner, name, value)
            for owner in owners
            if owner is not None
            for name, value in WITHOUT.items()
            if name in vars(owner)
        ]
        try:
            for variable in self.variables.values():
                assign(variable, np.full(variable.shape, before))
            with substituted(places):
                call.run(training=True)
            return {n: host(v) for n, v in self.variables.items()}
        finally:
            for variable, value in saved:
                variable.assign(value)

    def count(self, call):
        """Entries of the call's input that count, per channel."""
        x, mask = call.inputs, call.mask
        if mask is None:
            return np.prod([int(n) for n in ops.shape(x)[:-1]])
        return np.sum(host(mask))

    def kept(self, between=True) -> Collected:
        """The state, as statistics of one entry."""
        values = {n: host(v)[None] for n, v in self.variables.items()}
        return Collected(np.ones(1), values, self.about)

    def write(self, found) -> None:
        """Make statistics the state; what nothing is known of stays."""
        for name, variable in self.variables.items():
            value = found.values[name][0]
            seen = np.asarray(found.count[0] > 0)
            seen = aligned(seen, value)
            assign(variable, np.where(seen, value, host(variable)))


class TimeSteps(OwnState):
    """Statistics of every time step: each counts its own samples."""

    def count(self, call):
        """Samples of every row of the state, (rows,)."""
        x, mask = call.inputs, call.mask
        samples, steps = (int(n) for n in ops.shape(x)[:2])
        seen = np.full(steps, float(samples))
        if mask is not None:
            seen = np.sum(host(mask), axis=0)
        if self.layer.go_backwards:
            seen = seen[::-1]
        limit = next(iter(self.variables.values())).shape[0]
        counts = np.zeros(limit)
        # Later time steps have the last row; of these the last one stays.
        for step in np.flatnonzero(seen):
            counts[min(step, limit - 1)] = seen[step]
        return counts


def unknown(layer):
    """The error of a layer whose state batches do not determine."""
    return errors.received(
        "The state of every normalization layer must be an average over "
        "batches.",
        "Leave the layer out by `layers`, or train it.",
        layer=layer.name,
        type=type(layer).__name__,
    )
