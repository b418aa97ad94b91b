"""Entropies by hand, and what they say of digits that were held out."""

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits

import keras_norm as kn
from tools.statistics_models import same
from tools.statistics_models import state

uncertainty = kn.analysis.predictive_uncertainty


@pytest.mark.once
def test_by_hand():
    draws = np.array(
        [[[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]], [[0, 1], [0.5, 0.5], [0.9, 0.1]]]
    )
    found = uncertainty(draws)
    h = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
    assert np.allclose(found.total, [np.log(2), np.log(2), h])
    assert np.allclose(found.data, [0, np.log(2), h])
    assert np.allclose(found.model, [np.log(2), 0, 0], atol=1e-15)
    # The second of two classes stands for both.
    assert np.allclose(uncertainty(draws[..., 1]), found)
    assert np.allclose(uncertainty(draws[..., 1:]), found)
    with pytest.raises(ValueError, match="`probabilities` must not be neg"):
        uncertainty(3 * draws)


def network():
    """Batch normalization twice, of the same weights on every backend."""
    random = np.random.default_rng(0)

    def dense(inputs, units):
        kernel = random.normal(size=(inputs, units)) * np.sqrt(2 / inputs)
        initial = keras.initializers.Constant(kernel)
        return layers.Dense(units, kernel_initializer=initial)

    return keras.Sequential(
        [
            keras.Input((64,)),
            dense(64, 32),
            kn.layers.BatchNormalization(),
            layers.Activation("relu"),
            dense(32, 32),
            kn.layers.BatchNormalization(),
            layers.Activation("relu"),
            dense(32, 10),
            layers.Softmax(),
        ]
    )


def test_digits_held_out():
    """Trained on 1200 digits: what is said of 597 others, and of noise."""
    images, labels = load_digits(return_X_y=True)
    images = images.astype("float32") / 16
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:1200], order[1200:]
    model = network()
    model.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy"
    )
    model.fit(images[train], labels[train], 40, 5, verbose=0, shuffle=False)
    kn.tools.recompute_statistics(model, images[train], batch_size=600)
    before = state(model)
    noise = np.random.default_rng(1).permuted(images[test][:200], axis=1)
    x = np.concatenate([images[test], noise])
    found = kn.analysis.monte_carlo_predict(
        model, x, images[train], 12, 40, 0, True, predict_batch_size=800
    )
    assert same(before, state(model))
    n = len(test)
    answers = found.mean[:n].argmax(axis=1)
    right = answers == labels[test]
    assert right.mean() > 0.93
    split = uncertainty(found.samples)
    # Wrong answers are less certain, and what is no digit least of all.
    assert split.total[:n][~right].mean() > 3 * split.total[:n][right].mean()
    for part in (split.total, split.model):
        assert part[n:].mean() > 3 * part[:n].mean()
    # Ranked by uncertainty: answers given only where it is low are better.
    surest = np.argsort(split.total[:n])[: n // 2]
    assert right[surest].mean() >= 0.99
    # Said and true confidence; where samples are as in training, the mean over
    # batches is no better calibrated than the moving statistics (0.03, 0.01).
    plain = model.predict(images[test], 600, verbose=0)
    for p in (plain, found.mean[:n]):
        calibrated = kn.analysis.calibration(p, labels[test])
        assert calibrated.expected_error < 0.05
        assert calibrated.negative_log_likelihood < 0.1
