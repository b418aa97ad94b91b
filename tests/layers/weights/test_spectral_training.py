"""Spectral normalization in training: what users of Keras' layer miss."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from layers.weights.kinds import array


def network():
    """A classifier whose layers are all normalized."""
    spectral = kn.layers.SpectralNormalization
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            spectral(layers.Conv2D(8, 3, activation="relu")),
            layers.Flatten(),
            spectral(layers.Dense(16, activation="relu")),
            spectral(layers.Dense(10)),
        ]
    )


def data():
    """Handwritten digits, 480 of them."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = digits.images[:480, ..., None].astype("float32") / 8 - 1
    return x, digits.target[:480]


def largest_values(model):
    """The largest singular value of what each layer computes with."""
    found = []
    for layer in model.layers:
        if hasattr(layer, "effective_kernel"):
            w = array(layer.effective_kernel())
            found.append(np.linalg.norm(w.reshape(-1, w.shape[-1]), 2))
    return np.array(found)


@pytest.mark.parametrize("method", ["reshape", "convolution"])
def test_without_steps_inference_is_normalized_and_the_kernel_stays(method):
    model = network()
    if method == "convolution":
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                kn.layers.SpectralNormalization(
                    layers.Conv2D(8, 3, strides=2), method=method
                ),
                layers.GlobalAveragePooling2D(),
                layers.Dense(10),
            ]
        )
    model.compile(
        keras.optimizers.SGD(0.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    before = [array(w).copy() for w in model.trainable_variables]
    model.fit(*data(), epochs=2, batch_size=32, verbose=0)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.array_equal(old, array(new))
    # One step of power iteration a batch, after 15: sigma is found.
    wrappers = [x for x in model.layers if hasattr(x, "violations")]
    for wrapper in wrappers:
        assert wrapper.violations()["kernel"] <= 0.01
    x = data()[0][:4]
    y = model.predict(x, verbose=0)
    assert np.array_equal(model.predict(x, verbose=0), y)
    outputs = array(model(x, training=False))
    assert np.abs(outputs - y).max() <= 1e-5


def test_after_training_inference_is_normalized():
    model = network()
    steps = 15 * 12
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(3e-3, steps)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = model.fit(*data(), epochs=12, batch_size=32, verbose=0)
    assert losses.history["loss"][-1] < losses.history["loss"][0] / 2
    # The free kernels are not; what is computed with is.
    free = [
        np.linalg.norm(array(w).reshape(-1, w.shape[-1]), 2)
        for w in model.trainable_variables
        if len(w.shape) > 1
    ]
    assert max(free) > 1.1
    assert (np.abs(largest_values(model) - 1) <= 0.05).all()
    for layer in model.layers:
        if hasattr(layer, "converge"):
            layer.converge()
    # Of k steps from a random start a relative log(n) / 2k may be missing.
    assert (np.abs(largest_values(model) - 1) <= 0.02).all()


def test_converge_goes_on_from_u():
    # Values this close need more steps than one call makes.
    wrapper = kn.layers.SpectralNormalization(layers.Dense(5), seed=0)
    wrapper.build((None, 7))
    values = np.array([1.0, 0.999, 0.998, 0.5, 0.1])
    k = np.eye(7, 5) * values
    wrapper.layer.kernel.assign(k)
    found = []
    for _ in range(40):
        wrapper.converge(50)
        found.append(np.linalg.norm(array(wrapper.effective_kernel()), 2))
    # What float32 leaves of steps that add nothing.
    assert (np.diff(found) <= 1e-6).all()
    assert found[0] > found[-1]
    assert abs(found[-1] - 1) <= 3e-6


def test_each_training_call_moves_u_once():
    wrapper = kn.layers.SpectralNormalization(
        layers.Dense(5), warmup_iterations=0
    )
    x = np.ones((2, 7), "float32")
    wrapper.build(x.shape)
    k = array(wrapper.layer.kernel).astype("float64")
    u = array(wrapper.vector_u)[0].astype("float64")
    for _ in range(3):
        wrapper(x, training=True)
        v = k @ u / np.linalg.norm(k @ u)
        u = k.T @ v / np.linalg.norm(k.T @ v)
        assert np.abs(array(wrapper.vector_u)[0] - u).max() <= 1e-5
    first = array(wrapper(x, training=False))
    assert np.array_equal(array(wrapper(x, training=False)), first)
    assert np.abs(array(wrapper.vector_u)[0] - u).max() <= 1e-5


def test_resumed_training_is_the_same(tmp_path):
    def compiled():
        keras.utils.set_random_seed(1)
        model = network()
        model.compile(
            keras.optimizers.Adam(0.01),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    def fit(model, epochs):
        return model.fit(
            *data(), epochs=epochs, batch_size=32, shuffle=False, verbose=0
        ).history["loss"]

    whole = fit(compiled(), 4)
    model = compiled()
    losses = fit(model, 2)
    model.save(tmp_path / "model.keras")
    losses += fit(keras.saving.load_model(tmp_path / "model.keras"), 2)
    assert np.allclose(losses, whole, rtol=1e-5)
