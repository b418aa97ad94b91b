"""The helper `gradients`, against derivatives that are known."""

import keras
import numpy as np
import pytest
from keras import ops

from gradients import gradients
from gradients import inference


class Powers(keras.layers.Layer):
    """(w x, x^2 c); counts the training calls."""

    def build(self, inputs_shape, condition_shape=None):
        self.supports_masking = True
        self.w = self.add_weight(shape=(), initializer="ones", name="w")
        self.unused = self.add_weight(shape=(2,), name="unused")
        self.count = self.add_weight(
            shape=(), initializer="zeros", name="count", trainable=False
        )
        self.inner = keras.layers.Dense(1, kernel_initializer="ones")
        self.inner.build((None, 3))

    def call(self, inputs, condition=None, training=None, mask=None):
        if isinstance(inputs, list):
            inputs, condition = inputs
        if training:
            self.count.assign(self.count + 1.0)
        c = ops.cast(condition, inputs.dtype)
        # Keras gives [None, None] with a list of inputs.
        if mask is not None and not isinstance(mask, list):
            c = c * ops.cast(mask, c.dtype)
        return self.w * inputs, self.inner(ops.square(inputs)) * c[:, None]


X = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])
U = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 1.0]])


@pytest.fixture(params=[False, True], ids=["positional", "list"])
def pack(request):
    """Inputs as positional arguments or as one list."""
    return (lambda *a: [list(a)]) if request.param else (lambda *a: list(a))


def unpacked(inputs):
    return inputs[0] if len(inputs) == 1 else inputs


def test_several_inputs_and_outputs(pack):
    layer, c = Powers(), np.array([2.0, 3.0])
    v = np.array([[1.0], [2.0]])
    found = gradients(layer, pack(X, c), [U, v])
    dx, dc = unpacked(found.inputs)
    np.testing.assert_allclose(dx, U + 2 * X * (v * c[:, None]), rtol=1e-6)
    np.testing.assert_allclose(
        dc, (v * np.sum(X**2, 1, keepdims=True))[:, 0], rtol=1e-6
    )
    np.testing.assert_allclose(found.weights["w"], np.sum(U * X), rtol=1e-6)
    kernel = np.sum(X**2 * v * c[:, None], 0)[:, None]
    np.testing.assert_allclose(found.weights["dense/kernel"], kernel, rtol=1e-6)
    assert not np.any(found.weights["unused"])
    np.testing.assert_allclose(found.outputs[0], X, rtol=1e-6)
    assert found.outputs[1].shape == (2, 1)


def test_integer_inputs_have_no_gradient(pack):
    found = gradients(Powers(), pack(X, np.array([2, 3])), U)
    dx, dc = unpacked(found.inputs)
    assert dc is None
    np.testing.assert_allclose(dx, U, rtol=1e-6)


def test_an_upstream_may_be_missing():
    c, v = np.array([2.0, 3.0]), np.array([[1.0], [2.0]])
    found = gradients(Powers(), [X, c], [None, v])
    np.testing.assert_allclose(
        found.inputs[0], 2 * X * (v * c[:, None]), rtol=1e-6
    )


def test_a_wrong_upstream_is_refused():
    with pytest.raises(ValueError, match="`upstream` must have the shape"):
        gradients(Powers(), [X, np.ones(2)], U[:, :2])


def test_the_state_follows_training_only():
    layer, c = Powers(), np.ones(2)
    for training, count in ((True, 1), (True, 2), (False, 2)):
        gradients(layer, [X, c], U, training=training)
        assert float(ops.convert_to_numpy(layer.count)) == count
    inference(layer, [X, c], training=True)
    assert float(ops.convert_to_numpy(layer.count)) == count


def test_mask():
    c, v = np.ones(2), np.ones((2, 1))
    found = gradients(Powers(), [X, c], [None, v], mask=np.array([True, False]))
    assert np.all(found.inputs[0][0] != 0)
    assert not np.any(found.inputs[0][1])


def test_a_layer_without_training():
    found = gradients(keras.layers.Dense(3), [X], U)
    assert found.weights["bias"].shape == (3,)


@pytest.mark.compile
def test_compiled_as_eager():
    c, v = np.array([2.0, 3.0]), np.array([[1.0], [2.0]])
    layer = Powers()
    eager = gradients(layer, [X, c], [U, v])
    compiled = gradients(layer, [X, c], [U, v], jit=True)
    assert float(ops.convert_to_numpy(layer.count)) == 2
    for a, b in zip(eager.inputs, compiled.inputs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    for name, gradient in eager.weights.items():
        np.testing.assert_allclose(gradient, compiled.weights[name], rtol=1e-6)
