"""Where the numbers come from: the batch, moving averages, both.

A statistics object declares the weights it needs, `moving_<name>` for each
statistic of the operation; the layer creates them flat, in Keras' order.
"""

from collections import namedtuple

import keras
from keras import ops

from keras_norm import errors
from keras_norm.core import configuration
from keras_norm.core.moments import bessel
from keras_norm.core.state import snapshot

Weight = namedtuple("Weight", "name shape initializer dtype", defaults=(None,))
# What normalizes: compact shift (relative to the area's base) and spread, and
# an optional (factor, addend) on the normalized data (batch renormalization).
Selected = namedtuple("Selected", "shift spread correction", defaults=(None,))


def check_momentum(name, value) -> float:
    """A fraction kept: within [0, 1]."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise errors.received(
            f"`{name}` is the fraction kept and must lie in [0, 1].",
            f"PyTorch's momentum is 1 - {name}: 0.1 there is 0.9 here.",
            **{name: value},
        )
    return float(value)


@keras.saving.register_keras_serializable("keras_norm")
class Batch(configuration.Part):
    """The input itself, in training and inference; no state."""

    def weights(self, operation, shapes) -> list:
        """Weights to create, in order.

        `shapes()` gives the shapes of the operation's shift and spread.
        """
        return []

    def measures(self, training) -> bool:
        """Are the moments of the input needed?"""
        return True

    def select(self, layer, shift, spread, averages) -> Selected:
        """Statistics that normalize a training step; may update the state.

        What it selects from state is read by `state.read` or `before`.
        """
        return Selected(shift, spread)


@keras.saving.register_keras_serializable("keras_norm")
class MovingAverage(Batch):
    """Batch statistics in training, their moving averages in inference.

    moving <- momentum * moving + (1 - momentum) * batch, for every part that
    saw anything; parts of weight 0 (empty batch, all masked) keep theirs.

    Args:
        momentum: fraction kept, in [0, 1].
        unbiased: store the variance divided by m - 1, as PyTorch does; biased
            as Keras does otherwise.
        initializers: {"mean": ..., "variance": ...}: initial state, defaults
            0 and 1.
    """

    def __init__(self, momentum=0.9, unbiased=False, initializers=None):
        self.momentum = check_momentum("momentum", momentum)
        self.unbiased = unbiased
        self.initializers = initializers or {}

    def weights(self, operation, shapes) -> list:
        """`moving_<name>` for shift and spread."""
        initial = zip(operation.names, shapes(), operation.initial, strict=True)
        return [
            Weight(f"moving_{n}", shape, self.initializers.get(n, i))
            for n, shape, i in initial
            if n
        ]

    def measures(self, training) -> bool:
        """Only training looks at the batch."""
        return training

    def select(self, layer, shift, spread, averages) -> Selected:
        """The batch normalizes; the state follows it."""
        self.follow(layer, shift, spread, averages)
        return Selected(shift, spread)

    def acting_momentum(self, layer):
        """The fraction that a layer's averages keep at present."""
        return self.momentum

    def initial_share(self, layer, updates) -> float:
        """What is left of the initial state after that many updates."""
        return self.acting_momentum(layer) ** updates

    def state(self, layer, dtype):
        """(shift, spread) as kept, compact."""
        return tuple(
            n and compact(getattr(layer, f"moving_{n}"), dtype)
            for n in layer.operation.names
        )

    def before(self, layer, dtype):
        """`state`, for a training step that uses it and then moves it."""
        return tuple(
            None if t is None else snapshot(t) for t in self.state(layer, dtype)
        )

    def follow(self, layer, shift, spread, averages, momentum=None) -> None:
        """Move the state towards the batch."""
        names = layer.operation.names
        seen = averages.seen
        keep = self.momentum if momentum is None else momentum
        shift, spread = self.stored(layer, shift, spread, averages)
        for name, value in zip(names, (shift, spread), strict=True):
            if name:
                move(getattr(layer, f"moving_{name}"), value, seen, keep)

    def stored(self, layer, shift, spread, averages):
        """Batch statistics in the form the state keeps: absolute, merged."""
        if shift is not None:
            shift = averages.merged(averages.base + shift)
        if spread is not None:
            already = getattr(layer.operation, "unbiased", False)
            if self.unbiased and not already:
                spread = bessel(spread, averages.entries)
            spread = averages.merged(spread)
        return shift, spread


def compact(variable, dtype):
    """A state variable as a compact (parts, groups) tensor."""
    value = ops.cast(variable, dtype)
    if len(value.shape) == 1:
        return value[None]
    return ops.reshape(value, (-1, value.shape[-1]))


def moved(old, value, keep, seen=True):
    """keep * old + (1 - keep) * value, where seen; no gradient."""
    value = ops.stop_gradient(value)
    # Not old * keep + value * (1 - keep): that rounds at the size of the mean,
    # this at the size of its change.
    new = old + (value - old) * (1.0 - keep)
    return new if seen is True else ops.where(seen, new, old)


def move(variable, value, seen, keep) -> None:
    """variable <- keep * variable + (1 - keep) * value, where seen."""
    value = ops.reshape(value, (-1, value.shape[-1]))
    old = compact(variable, value.dtype)
    put(variable, moved(old, value, keep, seen))


def put(variable, value) -> None:
    """Assign a compact value to a state variable."""
    flat = len(variable.shape) == 1
    value = value[0] if flat else ops.reshape(value, variable.shape)
    variable.assign(ops.cast(ops.stop_gradient(value), variable.dtype))
