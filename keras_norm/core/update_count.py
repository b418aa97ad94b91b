"""How often moving statistics were updated, and a warning if too seldom.

The count is no weight: it is not saved, and files and `get_weights` stay as
Keras has them. It is among a layer's `variables`, so that compiled steps move
it; after weights were loaded it is unknown.
"""

import math
import warnings

import keras

from keras_norm.core.distribution import concrete

# Fewer updates leave the initial values a larger share than this of the
# moving statistics.
SHARE = 0.2


class StatisticsWarning(UserWarning):
    """Inference by moving statistics that have seen few batches."""


class _Count(keras.Variable):
    """A count that remembers what it was given outside of compiled code.

    JAX takes a model's variables away while it compiles; this one still knows
    what the last synchronization told it.
    """

    told = 0

    def assign(self, value):
        """As `keras.Variable`."""
        if keras.backend.backend() == "jax":
            try:
                self.told = int(value)
            except TypeError:
                pass  # A value that is only being traced.
        return super().assign(value)


class UpdateCount:
    """The count of one layer.

    Attributes:
        variable: the number of updates.
        known: False after weights came from elsewhere.
    """

    def __init__(self):
        self.variable = _Count(
            initializer="zeros",
            shape=(),
            dtype="int32",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name="updates",
        )
        self.known, self._trained, self._checked = True, False, False

    def forget(self):
        """The statistics come from elsewhere: nothing is known of them."""
        self.known = False

    def add(self):
        """One more update."""
        self._trained = True
        self.variable.assign(self.variable + 1)

    def read(self):
        """The number of updates; None where it cannot be known (now)."""
        if not self.known:
            return None
        found = concrete(self.variable)
        return self.variable.told if found is None else found

    def check(self, layer):
        """Warn once if inference comes too early."""
        if self._checked or not self._trained or not self.known:
            return
        updates = self.read()
        if not updates:
            return
        self._checked = True
        if layer.statistics.initial_share(layer, updates) > SHARE:
            warnings.warn(
                too_few(layer, updates), StatisticsWarning, stacklevel=1
            )


def horizon(momentum):
    """How many updates moving averages need: 5 % of the start remain."""
    return round(3.0 / (1.0 - momentum)) if momentum < 1 else math.inf


def too_few(layer, updates):
    """The warning: one text for all layers, so that it comes once."""
    momentum = layer.statistics.acting_momentum(layer)
    needed = horizon(momentum)
    return (
        f"Moving statistics are used for inference after {updates} updates; "
        f"momentum={momentum} needs about {needed}. Use a smaller `momentum` "
        "(0.9), train longer, or call "
        "keras_norm.tools.recompute_statistics(model, data)."
    )
