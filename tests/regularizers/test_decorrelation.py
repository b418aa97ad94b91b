"""Decorrelation of activations: values, gradients, and what `fit` minimizes."""

import keras
import numpy as np
import pytest
from keras import layers

from functions import Primitive
from functions import differences
from gradients import gradients
from keras_norm.regularizers import Decorrelation

# PyTorch compiles a training step in half a minute; its compiler looks at the
# gradients of tensors that have none, and warns of itself.
COMPILED = [pytest.mark.compile]
if keras.backend.backend() == "torch":
    COMPILED += [
        pytest.mark.all,
        pytest.mark.filterwarnings("ignore:The .grad attribute"),
    ]

FACTOR = 0.7
JIT = [
    pytest.param(False, id="plain"),
    pytest.param(True, id="jit", marks=COMPILED),
]


def formula(h, axis=-1):
    """(|C|_F^2 - |diag C|^2) / 2."""
    h = np.moveaxis(np.asarray(h, "float64"), axis, -1)
    h = h.reshape(-1, h.shape[-1])
    d = h - h.mean(0)
    c = d.T @ d / len(d)
    return 0.5 * (np.sum(c**2) - np.sum(np.diag(c) ** 2))


def value(h, dtype="float32", **arguments):
    penalty = Decorrelation(FACTOR, times_batch_size=False, **arguments)
    found = penalty(keras.ops.convert_to_tensor(h, dtype))
    assert tuple(found.shape) == ()
    return float(keras.ops.convert_to_numpy(found))


def activations(shape, axis=-1):
    """Correlated channels."""
    rng = np.random.default_rng(0)
    h = rng.normal(size=shape)
    common = rng.normal(
        size=[1 if a == axis else n for a, n in enumerate(shape)]
    )
    return (h + common).astype("float32")


@pytest.mark.parametrize(
    "shape, axis",
    [((8, 5), -1), ((6, 4, 3), -1), ((4, 3, 5, 2), 1), ((5, 2, 3, 2, 4), -1)],
)
def test_formula(shape, axis):
    h = activations(shape, axis)
    wanted = FACTOR * formula(h, axis)
    assert abs(value(h, axis=axis) / wanted - 1) <= 1e-5
    penalty = Decorrelation(FACTOR, axis)
    times = float(keras.ops.convert_to_numpy(penalty(h)))
    assert abs(times / (shape[0] * wanted) - 1) <= 1e-5
    found = gradients(Primitive(penalty), [[h]], np.ones(()))
    (wanted,) = differences(
        lambda h: FACTOR * shape[0] * formula(h, axis), [h], 1.0
    )
    error = np.abs(found.inputs[0][0] - wanted).max()
    assert error <= 1e-5 * np.abs(wanted).max() + 1e-7


def test_uncorrelated_channels_cost_nothing():
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    assert abs(value(signs * [3.0, 0.1])) <= 1e-7
    # One sample, no sample, constant channels.
    for h in (np.ones((1, 3)), np.ones((0, 3)), np.full((5, 3), 7.3)):
        assert value(h) <= 1e-9
        penalty = Primitive(Decorrelation(FACTOR))
        found = gradients(penalty, [[h]], np.ones(()))
        assert np.isfinite(found.inputs[0][0]).all()


def test_far_from_zero():
    h = activations((64, 5)) + np.float32(1e4)
    assert abs(value(h) / (FACTOR * formula(h)) - 1) <= 1e-4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    h = keras.ops.convert_to_tensor(100 * activations((64, 5)), dtype)
    full = keras.ops.convert_to_numpy(keras.ops.cast(h, "float32"))
    # |C|^2 is beyond float16.
    wanted = FACTOR * formula(full)
    assert wanted > 65504
    assert abs(value(h, dtype) / wanted - 1) <= 1e-5


def network(penalty, jit=False):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, activity_regularizer=penalty)]
    )
    kernel = np.random.default_rng(1).normal(size=(6, 4))
    model.layers[0].kernel.assign(kernel)
    model.compile(keras.optimizers.SGD(0.01), None, jit_compile=jit)
    return model


@pytest.mark.parametrize("jit", JIT)
def test_the_loss_does_not_depend_on_the_size_of_the_batch(jit, tmp_path):
    x = activations((12, 6))
    for size in (12, 3):
        model = network(Decorrelation(FACTOR), jit)
        h = x[:size] @ keras.ops.convert_to_numpy(model.layers[0].kernel)
        found = model.fit(x[:size], batch_size=size, verbose=0)
        wanted = FACTOR * formula(h)
        assert abs(found.history["loss"][0] / wanted - 1) <= 1e-4
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    found = loaded.layers[0].activity_regularizer
    assert found.get_config() == Decorrelation(FACTOR).get_config()
    assert np.array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )


@pytest.mark.parametrize("jit", JIT)
def test_training_decorrelates(jit):
    x = activations((64, 6))
    model = network(Decorrelation(1.0), jit)

    def correlation():
        c = np.corrcoef(model.predict(x, verbose=0).T)
        return np.abs(c - np.diag(np.diag(c))).max()

    assert correlation() > 0.5
    # 150 steps.
    repeated = np.tile(x, (50, 1))
    model.fit(repeated, batch_size=64, epochs=3, shuffle=False, verbose=0)
    assert correlation() < 0.1
