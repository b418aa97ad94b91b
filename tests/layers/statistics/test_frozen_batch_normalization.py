"""Frozen batch normalization: the weights of a trained one, for good."""

import keras
import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from keras_norm import layers

EPSILON = 1e-3


def trained(cls):
    """A batch normalization with weights that no test can confuse."""
    layer = cls(epsilon=EPSILON)
    layer.build((None, 3, 4))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.uniform(0.5, 2.0, 4) for _ in range(4)])
    return layer


def data():
    return np.random.default_rng(1).normal(size=(6, 3, 4)).astype("float32")


class Block(keras.layers.Layer):
    """Layers within layers are in files by the name of their attribute."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def call(self, inputs, training=None):
        return self.norm(inputs, training=training)


@pytest.mark.parametrize(
    "cls", [keras.layers.BatchNormalization, layers.BatchNormalization]
)
@pytest.mark.parametrize("way", ["set_weights", "file"])
def test_it_loads_a_batch_normalization(cls, way, tmp_path):
    x = data()
    layer = layers.FrozenBatchNormalization(epsilon=EPSILON)
    models = [
        keras.Sequential([keras.Input((3, 4)), Block(norm)])
        for norm in (trained(cls), layer)
    ]
    expected = numpy(models[0](x))
    if way == "file":
        path = tmp_path / "trained.weights.h5"
        models[0].save_weights(path)
        models[1].load_weights(path)
    else:
        layer.set_weights(models[0].get_weights())
    for a, b in zip(models[0].weights, models[1].weights, strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(numpy(a), numpy(b))
    close(numpy(models[1](x, training=True)), expected, x.size)


def test_nothing_moves_it():
    layer = layers.FrozenBatchNormalization(epsilon=EPSILON)
    model = keras.Sequential(
        [keras.Input((3, 4)), layer, keras.layers.Dense(1)]
    )
    layer.set_weights(trained(layers.BatchNormalization).get_weights())
    model.trainable = False
    model.trainable = True
    assert not layer.trainable_weights
    before = layer.get_weights()
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() != "torch")
    x = data()
    model.fit(x, np.ones((6, 3, 1)), verbose=0)
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        numpy(layer(x, training=True)), numpy(layer(x, training=False))
    )


def test_without_gamma_and_beta():
    layer = layers.FrozenBatchNormalization(center=False, scale=False)
    layer.build((None, 4))
    assert [w.name for w in layer.weights] == ["moving_mean", "moving_variance"]
