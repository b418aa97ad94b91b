"""Precise statistics during `fit`.

Wu & Johnson, 2021, https://arxiv.org/abs/2105.07576
"""

import hashlib

import keras
import numpy as np

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.tools.recompute_statistics import MODES
from keras_norm.tools.recompute_statistics import recompute_statistics


class PreciseStatistics(keras.callbacks.Callback):
    """Gives normalization layers the statistics of the data after epochs.

    mean = E[mean_B] and variance = E[variance_B] + Var[mean_B] over the
    batches: see `tools.recompute_statistics`. Validation of the epoch already
    infers by them, and so do checkpoints of callbacks that come behind.

    Args:
        data: training data, anything that `fit` takes and that can be
            iterated again.
        steps: number of batches; None: all.
        batch_size: samples of a batch of arrays.
        every: after every so many epochs, and after the last one; None: after
            the last one only.
        mode: "population" or "mean_of_batches".
        layers: which ones; see `tools.recompute_statistics`.
        include_frozen: layers that are not trainable, too.
        verbose: 1 shows a progress bar.

    Raises:
        ValueError: `every` below 1; iterators, which are used up at once; and
            what `tools.recompute_statistics` raises.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((3,)), keras.layers.BatchNormalization(),
    ...     keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.random.rand(64, 3), np.random.rand(64, 1)
    >>> precise = kn.callbacks.PreciseStatistics(x)
    >>> history = model.fit(x, y, callbacks=[precise], verbose=0)

    Reference:

    - Wu & Johnson, Rethinking "Batch" in BatchNorm, 2021,
      https://arxiv.org/abs/2105.07576

    Note: with `every=None`, or in epochs between, validation infers by moving
    averages, except after the last epoch.

    It must stand behind callbacks that give the model other weights when
    training ends, such as `EarlyStopping(restore_best_weights=True)`: it
    measures again what they have restored. In front of them it is only as
    good with `every=1`, where the weights that they keep have precise
    statistics already; else they put the moving averages back.
    """

    def __init__(
        self,
        data,
        steps=None,
        batch_size=32,
        every=1,
        mode="population",
        layers=None,
        include_frozen=False,
        verbose=0,
    ):
        super().__init__()
        if every is not None:
            positive("every", every)
        if mode not in MODES:
            raise errors.unknown_name("mode", mode, list(MODES))
        if hasattr(data, "__next__"):
            raise errors.received(
                "`data` must be what can be iterated again.",
                "Give arrays, a dataset, a PyDataset or a DataLoader.",
                data=type(data).__name__,
            )
        self.data, self.every = data, every
        self.options = {
            "steps": steps,
            "batch_size": batch_size,
            "mode": mode,
            "layers": layers,
            "include_frozen": include_frozen,
            "verbose": verbose,
        }
        self.epoch = 0
        # Do the statistics belong to weights that training has left behind?
        self.stale = False
        # Of the weights when they were measured.
        self.measured = b""

    def on_epoch_begin(self, epoch, logs=None):
        """Weights are going to move."""
        self.epoch, self.stale = epoch, True

    def on_test_begin(self, logs=None):
        """Validation begins: `fit` calls `on_epoch_end` after it."""
        self.recompute_if_due()

    def on_epoch_end(self, epoch, logs=None):
        """An epoch without validation."""
        self.recompute_if_due()

    def on_train_end(self, logs=None):
        """The end, which need not be that of an epoch that counts.

        Other callbacks may have restored other weights.
        """
        self.stale = self.stale or self.measured != digest(self.model)
        self.recompute()

    def recompute_if_due(self):
        """Where the epoch is one of those that count."""
        last = self.epoch + 1 == self.params.get("epochs")
        counts = self.every and (self.epoch + 1) % self.every == 0
        if last or counts:
            self.recompute()

    def recompute(self):
        """Unless nothing has changed since."""
        if self.stale:
            recompute_statistics(self.model, self.data, **self.options)
            self.stale, self.measured = False, digest(self.model)


def digest(model) -> bytes:
    """What tells whether any weight of a model is another."""
    found = hashlib.blake2b()
    for weight in model.get_weights():
        found.update(np.ascontiguousarray(weight).tobytes())
    return found.digest()
