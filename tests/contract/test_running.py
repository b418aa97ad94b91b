"""Where layers run: compiled training steps, models in models, time steps."""

import keras
import numpy as np
import pytest

from contract.method import SHAPES
from contract.method import WITNESS
from contract.method import numpy
from contract.method import outputs
from contract.method import values
from contract.methods import METHODS
from contract.methods import first_of_each
from contract.methods import groups
from contract.methods import representative
from contract.tolerances import close
from contract.tolerances import largest

CHOSEN = [m for m in representative() if 4 in m.ranks and not m.draws]
# Two batches of six samples and a shorter one of four.
BATCH, SAMPLES = 6, 16
UPDATES = 3
XLA = keras.backend.backend() in ("tensorflow", "jax")


def symbolic(method, shape=(4, 3, 8)):
    """Further inputs of a functional model."""
    return [
        keras.Input(a.shape[1:], dtype=a.dtype.name)
        for a in method.conditions_for((2, *shape))
    ]


def data(method, samples=SAMPLES, seed=1):
    return method.inputs(shape=(samples, 4, 3, 8), seed=seed)


def together(methods, shape=(4, 3, 8)):
    """One model of layers side by side: (model, layers, arrays)."""
    x = keras.Input(shape)
    arrays = [data(methods[0])[0]]
    inputs, means, layers = [x], [], []
    for method in methods:
        rest = symbolic(method)
        layer = method.built()
        y = layer(method.given([x, *rest]))
        y = y[0] if isinstance(y, (list, tuple)) else y
        # The mean of what is centred would have no gradient.
        means.append(keras.layers.GlobalAveragePooling2D()(keras.ops.tanh(y)))
        inputs += rest
        arrays += data(method)[1:]
        layers.append(layer)
    out = keras.layers.Concatenate()(means) if len(means) > 1 else means[0]
    out = keras.layers.Dense(1)(out)
    return keras.Model(inputs, out), layers, arrays


def fitted(methods, **options):
    """(layers, weights before, loss) after one epoch."""
    model, layers, arrays = together(methods)
    rng = np.random.default_rng(0)
    *rest, kernel, bias = model.get_weights()
    model.set_weights([*rest, rng.normal(size=kernel.shape), bias])
    before = [values(layer) for layer in layers]
    model.compile(keras.optimizers.SGD(0.1), "mse", **options)
    target = rng.normal(size=(SAMPLES, 1)).astype("float32")
    history = model.fit(
        arrays,
        target,
        batch_size=BATCH,
        epochs=1,
        shuffle=False,
        verbose=0,
    )
    return layers, before, history.history["loss"][0]


def after_updates(actual, expected):
    """Assert that trained values agree: every update adds its own error."""
    scale = UPDATES * max(largest(expected), 1.0)
    close(actual, expected, entries=576, scale=scale)


def check_fit(methods):
    """A compiled epoch moves what an eager epoch moves."""
    layers, before, loss = fitted(methods, jit_compile=XLA)
    assert np.isfinite(loss)
    same, _, _ = fitted(methods, run_eagerly=True)
    for i, method in enumerate(methods):
        weights, state = values(layers[i])
        expected, moved = values(same[i])
        for name, value in weights.items():
            assert np.all(np.isfinite(value))
            changed = np.any(value != before[i][0][name])
            assert changed == (name != WITNESS), (str(method), name)
            after_updates(value, expected[name])
        for name, value in state.items():
            changed = np.any(value != before[i][1][name])
            assert changed == (name in method.state), (str(method), name)
            after_updates(value, moved[name])


@pytest.mark.compile
@pytest.mark.parametrize(
    "methods", groups(CHOSEN), ids=lambda group: str(group[0])
)
def test_fit(methods):
    check_fit(methods)


@pytest.mark.all
@pytest.mark.compile
@pytest.mark.parametrize(
    "methods",
    groups(
        [m for m in METHODS if 4 in m.ranks and m not in CHOSEN and not m.draws]
    ),
    ids=lambda group: str(group[0]),
)
def test_fit_of_every_row(methods):
    check_fit(methods)


@pytest.mark.parametrize(
    "method",
    [m for m in first_of_each() if not m.conditions and m.outputs == 1],
    ids=str,
)
def test_sequential_and_nested(method):
    layer = method.built()
    x = data(method, 6)[0]
    expected = outputs(layer(x))[0]
    inner = keras.Sequential([layer])
    outer = keras.Input((4, 3, 8))
    model = keras.Model(outer, keras.layers.Activation("linear")(inner(outer)))
    close(numpy(model(x)), expected)
    state = values(layer)[1]
    model(x, training=True)
    for name, moved in values(layer)[1].items():
        assert np.any(moved != state[name]) == (name in method.state)


@pytest.mark.parametrize("method", first_of_each(), ids=str)
def test_clone_of_a_model(method):
    x = keras.Input((4, 3, 8))
    rest = symbolic(method)
    layer = method.built()
    y = layer(method.given([x, *rest]))
    model = keras.Model([x, *rest], y)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    arrays = data(method, 6)
    for a, b in zip(
        outputs(model(arrays)), outputs(clone(arrays)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "method",
    [
        m
        for m in first_of_each()
        if not m.conditions and 2 in m.ranks and m.outputs == 1
    ],
    ids=str,
)
def test_time_distributed(method):
    layer = method.shared(2)
    x = np.random.default_rng(0).normal(size=(6, 5, 8)).astype("float32")
    expected = np.stack(
        [numpy(layer(x[:, t])) for t in range(x.shape[1])], axis=1
    )
    wrapped = keras.layers.TimeDistributed(layer)
    close(numpy(wrapped(x)), expected)
    model = keras.Sequential([keras.Input((5, 8)), wrapped])
    assert model.output_shape == method.result((None, 5, 8))
    close(numpy(model(x)), expected)


@pytest.mark.parametrize(
    "method", [m for m in first_of_each() if m.conditions], ids=str
)
def test_second_inputs_by_position_and_in_a_list(method):
    inputs = method.inputs()
    layer = method.built()
    close(numpy(layer(*inputs)), numpy(layer(inputs)))
    fresh = method.make()
    y = fresh(*inputs)
    assert fresh.built
    assert tuple(y.shape) == SHAPES[method.rank]


def test_memory_of_the_model_is_in_one_place():
    # One layer used twice: both uses move the same state.
    layer = METHODS[0].built()
    x = keras.Input((4, 3, 8))
    model = keras.Model(x, layer(layer(x)))
    assert len(model.non_trainable_weights) == 2
    before = numpy(layer.moving_mean)
    model(data(METHODS[0])[0], training=True)
    assert np.any(numpy(layer.moving_mean) != before)
