"""The loss as a function of the weights, against what Keras evaluates."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_norm as kn
from contract.method import numpy
from keras_norm.analysis import autodiff
from keras_norm.analysis.model_losses import ModelLoss

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3)).astype("float32")
Y = RNG.normal(size=(6, 1)).astype("float32")


def dense(units=1, **options):
    return keras.layers.Dense(units, **options)


def single(**options):
    return keras.Sequential([keras.Input((3,)), dense(**options)])


@pytest.mark.parametrize("penalties", [False, True])
@pytest.mark.parametrize("loss", ["mse", keras.losses.Huber(), "own", "list"])
def test_as_evaluated(loss, penalties):
    """The compiled loss; without penalties that of a model that has none."""
    y, model = Y, single(kernel_regularizer="l2")
    if loss == "own":
        loss = absolute
    elif loss == "list":
        x = model.inputs[0]
        model = keras.Model(x, [model.outputs[0], ops.tanh(model.outputs[0])])
        loss, y = ["mse", "mae"], [Y, Y]
    model.compile(loss=loss)
    found = ModelLoss(model, X, y, penalties=penalties)
    value, slopes = autodiff.gradients(found, found.values)
    expected = model.evaluate(X, y, verbose=0)
    expected = expected[0] if isinstance(expected, list) else expected
    if not penalties:
        expected -= float(numpy(sum(model.losses)))
    assert abs(float(numpy(value)) - expected) <= 2e-6 * abs(expected)
    assert [tuple(g.shape) for g in slopes] == [(3, 1), (1,)]
    outputs = found.outputs(found.values)
    if not penalties:
        again = float(numpy(found.of_outputs(outputs)))
        assert abs(again - expected) <= 2e-6 * abs(expected)


def absolute(y, outputs):
    return ops.mean(ops.abs(outputs - y), axis=-1)


class Own(keras.Model):
    """Its loss is its own affair; `call` does not take `training`."""

    def __init__(self):
        super().__init__()
        self.dense = dense()

    def call(self, inputs):
        return self.dense(inputs["x"])

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        return ops.sum(y_pred * x["x"][:, :1])


def test_a_loss_of_its_own():
    model, x = Own(), {"x": X}
    model(x)
    found = ModelLoss(model, x)
    _, slopes = autodiff.gradients(found, found.values)
    np.testing.assert_allclose(
        numpy(slopes[0]), X.T @ X[:, :1], rtol=1e-5, atol=1e-5
    )


def test_some_weights():
    model = single()
    found = ModelLoss(model, X, Y, "mse", variables=[model.weights[1]])
    _, (slope,) = autodiff.gradients(found, found.values)
    expected = 2 * np.mean(numpy(model(X)) - Y)
    assert abs(numpy(slope)[0] - expected) <= 1e-5
    with pytest.raises(ValueError, match="`variables` must be weights of"):
        ModelLoss(model, X, Y, "mse", variables=[keras.Variable(1.0)])


def test_layers_do_not_count_the_calls_as_updates():
    norm = kn.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), norm, keras.layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    before = dict(vars(norm.updates))
    function = ModelLoss(model, x, x[:, :1], "mse", True)
    function(function.values)
    assert all(vars(norm.updates)[k] is v for k, v in before.items())
