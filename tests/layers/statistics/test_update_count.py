"""The warning of inference by moving statistics that have seen few batches."""

import warnings

import keras
import numpy as np
import pytest

from keras_norm import callbacks
from keras_norm import layers
from keras_norm.core.update_count import SHARE
from keras_norm.core.update_count import StatisticsWarning

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
# How many updates leave less of the start than `SHARE`, momentum being 0.9.
ENOUGH = int(np.ceil(np.log(SHARE) / np.log(0.9)))


def found(call):
    """The warnings of a call that concern moving statistics."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [w for w in caught if w.category is StatisticsWarning]


def trained(updates, layer=None, **options):
    layer = layer or layers.BatchNormalization(momentum=0.9, **options)
    for _ in range(updates):
        layer(X, training=True)
    return layer


def test_too_few_updates_warn_once():
    layer = trained(ENOUGH - 1)
    (warning,) = found(lambda: layer(X))
    text = str(warning.message)
    assert f"are used for inference after {ENOUGH - 1} updates" in text
    assert "momentum=0.9 needs about 30." in text
    assert "recompute_statistics" in text
    assert not found(lambda: layer(X))


@pytest.mark.parametrize("updates", [0, ENOUGH])
def test_no_warning_without_need(updates):
    layer = trained(updates)
    assert not found(lambda: layer(X))
    assert layer.updates.read() == updates


def test_averages_of_all_batches_need_no_time():
    layer = layers.PopulationBatchNormalization(weight="diminishing")
    assert not found(lambda: trained(2, layer)(X))


def test_frozen_layers_do_not_count():
    layer = trained(1)
    layer.trainable = False
    layer(X, training=True)
    assert layer.updates.read() == 1


@pytest.mark.parametrize("tau", [0.5, 0.99])
def test_the_momentum_of_a_schedule_counts(tau):
    layer = layers.MomentumBatchNormalization(momentum=0.9)
    layer.build((None, 4))
    layer.moving_momentum.assign(tau)
    some = found(lambda: trained(5, layer)(X))
    # 0.5 forgets at once, 0.99 leaves 95 %.
    assert len(some) == (tau == 0.99)
    for warning in some:
        assert "momentum=0.99 needs about 300" in str(warning.message)


def test_validation_knows_of_the_schedule():
    """In compiled steps too."""
    layer = layers.MomentumBatchNormalization(momentum=0.9)
    model = model_of(layer)
    schedule = callbacks.MomentumSchedule(2, 16, ideal_batch_size=1)
    some = found(
        lambda: model.fit(
            X,
            X,
            batch_size=16,
            validation_data=(X, X),
            callbacks=[schedule],
            verbose=0,
        )
    )
    # tau = 0.9^16: of the start 0.9^64 is left after four steps.
    assert not some


def model_of(layer):
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() != "torch")
    return model


def test_validation_within_fit_warns(tmp_path):
    layer = layers.BatchNormalization()
    model = model_of(layer)
    options = {"batch_size": 16, "verbose": 0}
    some = found(
        lambda: model.fit(X, X, epochs=2, validation_data=(X, X), **options)
    )
    assert len(some) == 1
    assert "after 4 updates; momentum=0.99" in str(some[0].message)
    assert not found(lambda: model.evaluate(X, X, verbose=0))
    assert layer.updates.read() == 8
    # The count is no weight.
    plain = keras.layers.BatchNormalization()
    plain.build((None, 4))
    assert [w.name for w in layer.weights] == [w.name for w in plain.weights]
    # What comes from a file was trained elsewhere.
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.layers[0].updates.read() is None
    assert not found(lambda: again.fit(X, X, verbose=0))
    assert not found(lambda: again.evaluate(X, X, verbose=0))
