"""Every map in `fit`, compiled: the layers learn and stay on their set."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from layers.weights.kinds import array

K = kn.layers
# name: (wrapper, how far what it computes with may be from the map's set)
MAPS = {
    "weight": (K.WeightNormalization, 1e-5),
    "centered": (K.CenteredWeightNormalization, 1e-4),
    "standardized": (K.WeightStandardization, 1e-3),
    "scaled": (K.ScaledWeightStandardization, 1e-5),
    "centralized": (K.WeightCentralization, 1e-5),
    # 15 steps and those of the training have not converged.
    "spectral": (K.SpectralNormalization, 0.1),
    "orthogonal": (K.OrthogonalWeightNormalization, 1e-3),
    "newton": (lambda layer: K.NewtonOrthogonalization(layer, 12), 1e-2),
    "cayley": (K.OrthogonalParametrization, 1e-4),
    "exponential": (
        lambda layer: K.OrthogonalParametrization(layer, "matrix_exponential"),
        1e-4,
    ),
    "householder": (
        lambda layer: K.OrthogonalParametrization(layer, "householder"),
        1e-4,
    ),
}
# torch.compile takes half a minute.
JIT = keras.backend.backend() != "torch"


def data():
    """Two classes of images that a linear map tells apart."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 64)
    images = random.normal(0, 0.3, (64, 6, 6, 2)) + labels[:, None, None, None]
    return images.astype("float32"), labels


@pytest.mark.parametrize("names", [list(MAPS)[:5], list(MAPS)[5:]])
def test_learns_and_stays(names):
    inputs = keras.Input((6, 6, 2))
    wrappers = {}
    for name in names:
        # Side by side: a chain of eleven would hardly learn.
        conv = MAPS[name][0](layers.Conv2D(3, 3))
        dense = MAPS[name][0](layers.Dense(4))
        y = layers.Activation("relu")(conv(inputs))
        wrappers[name] = (conv, dense, dense(layers.Flatten()(y)))
    x = layers.Concatenate()([y for _, _, y in wrappers.values()])
    model = keras.Model(inputs, layers.Dense(2)(layers.Activation("tanh")(x)))
    model.compile(
        keras.optimizers.SGD(0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=JIT,
    )
    before = {
        n: [array(w.plain_layer().kernel).copy() for w in found[:2]]
        for n, found in wrappers.items()
    }
    history = model.fit(*data(), epochs=6, batch_size=16, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    for name, (conv, dense, _) in wrappers.items():
        for wrapper, old in zip((conv, dense), before[name], strict=True):
            assert not np.allclose(array(wrapper.plain_layer().kernel), old)
            assert max(wrapper.violations().values()) <= MAPS[name][1], name
