"""Precise statistics within fit."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from tools.statistics_models import chain
from tools.statistics_models import data
from tools.statistics_models import statistics

TOLERANCE = 1e-5


class Seen(keras.callbacks.Callback):
    """The first mean and the losses of validation after every epoch."""

    def __init__(self):
        super().__init__()
        self.losses, self.means = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs.get("val_loss"))
        layer = self.model.get_layer("first")
        self.means.append(statistics(layer)[0])


def fitted(validation=True, epochs=2, **options):
    keras.utils.set_random_seed(0)
    model, x = chain(), data(48)
    for name in ("first", "second"):
        model.get_layer(name).momentum = 0.5
    y = np.random.default_rng(6).standard_normal((48, 2)).astype("float32")
    model.compile(keras.optimizers.SGD(0.01), "mse")
    precise = kn.callbacks.PreciseStatistics(x, batch_size=16, **options)
    before, after = Seen(), Seen()
    model.fit(
        x,
        y,
        batch_size=16,
        epochs=epochs,
        shuffle=False,
        validation_data=(x, y) if validation else None,
        callbacks=[before, precise, after],
        verbose=0,
    )
    return model, x, y, before, after


def test_validation_infers_by_them():
    """And so does the model that fit leaves."""
    model, x, y, before, after = fitted()
    mean = x.astype("float64").mean(axis=0)
    # Set before the callbacks of the end of the epoch.
    for found in before.means:
        assert np.abs(found - mean).max() <= TOLERANCE
    # What was validated last is the model that fit leaves.
    loss = model.evaluate(x, y, verbose=0)
    assert abs(loss - after.losses[-1]) <= 1e-5 * loss
    second = model.get_layer("second")
    kept = statistics(second)
    kn.tools.recompute_statistics(model, x, batch_size=16)
    for old, new in zip(kept, statistics(second), strict=True):
        assert np.abs(old - new).max() <= TOLERANCE


def test_training_goes_on_from_them():
    """What the callback sets reaches the compiled steps."""
    model, x, _, before, after = fitted(validation=False)
    batches = x.astype("float64").reshape(3, 16, 4)
    mean = x.astype("float64").mean(axis=0)
    assert np.abs(after.means[0] - mean).max() <= TOLERANCE
    for b in batches:
        mean = 0.5 * mean + 0.5 * b.mean(axis=0)
    assert np.abs(before.means[1] - mean).max() <= TOLERANCE
    assert np.abs(before.means[1] - after.means[1]).max() > 1e-3


@pytest.mark.parametrize("every", [2, None])
def test_only_some_epochs(every):
    _, x, _, _, after = fitted(epochs=3, every=every)
    mean = x.astype("float64").mean(axis=0)
    precise = [np.abs(m - mean).max() <= TOLERANCE for m in after.means]
    assert precise == [False, every == 2, True]


@pytest.mark.parametrize("first, every", [(False, None), (True, 1)])
def test_weights_that_early_stopping_restores(first, every):
    """They are others than those of the last epoch."""
    keras.utils.set_random_seed(0)
    model, x = chain(), data(48)
    y = np.random.default_rng(6).standard_normal((48, 2)).astype("float32")
    model.compile(keras.optimizers.SGD(0.01), "mse")
    precise = kn.callbacks.PreciseStatistics(x, batch_size=16, every=every)
    # The loss falls: the first epoch has the largest.
    stopping = keras.callbacks.EarlyStopping(
        "loss", patience=1, mode="max", restore_best_weights=True
    )
    callbacks = [precise, stopping] if first else [stopping, precise]
    model.fit(
        x, y, batch_size=16, epochs=2, shuffle=False, callbacks=callbacks,
        verbose=0,
    )  # fmt: skip
    assert stopping.best_epoch == 0
    kept = [statistics(model.get_layer(n)) for n in ("first", "second")]
    kn.tools.recompute_statistics(model, x, batch_size=16)
    for name, old in zip(("first", "second"), kept, strict=True):
        mean, variance = statistics(model.get_layer(name))
        assert np.abs(old[0] - mean).max() <= TOLERANCE * np.abs(mean).max()
        assert np.abs(old[1] / variance - 1).max() <= TOLERANCE


def test_errors():
    with pytest.raises(ValueError, match="iterated again"):
        kn.callbacks.PreciseStatistics(iter([data()]))
    with pytest.raises(ValueError, match="`every`"):
        kn.callbacks.PreciseStatistics(data(), every=0)
    with pytest.raises(ValueError, match="`mode`"):
        kn.callbacks.PreciseStatistics(data(), mode="mean")
