"""When state moves, and what training, inference and frozen layers use."""

import keras
import numpy as np
import pytest

from contract.calls import answer
from contract.method import numpy
from contract.method import outputs
from contract.method import values
from contract.methods import METHODS
from contract.methods import first_of_each
from contract.methods import representative
from contract.methods import rows
from contract.tolerances import close
from gradients import gradients

STATEFUL = [m for m in METHODS if m.state]


def state_of(layer):
    return list(values(layer)[1].values())


def assert_untouched(layer, before):
    for a, b in zip(state_of(layer), before, strict=True):
        np.testing.assert_array_equal(a, b)


def same_outputs(a, b):
    for x, y in zip(outputs(a), outputs(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("method", rows(METHODS))
def test_state_moves_in_training_only(method):
    layer = method.shared()
    inputs = method.given(method.inputs())
    before = state_of(layer)
    inferred = answer(layer, inputs, training=False)
    same_outputs(answer(layer, inputs), inferred)
    assert_untouched(layer, before)
    answer(layer, inputs, training=True)
    moved = values(layer)[1]
    for name, value, old in zip(moved, moved.values(), before, strict=True):
        assert np.any(value != old) == (name in method.state), name


@pytest.mark.parametrize("method", rows(METHODS))
def test_frozen_is_inference(method):
    layer = method.built()
    inputs = method.given(method.inputs())
    inferred = answer(layer, inputs, training=False)
    layer.trainable = False
    before = [numpy(v) for v in layer.variables]
    same_outputs(answer(layer, inputs, training=True), inferred)
    for a, b in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(numpy(a), b)
    assert not layer.trainable_variables
    layer.trainable = True
    assert len(layer.trainable_variables) == len(method.weights)


# Without state the statistics of the batch serve in inference too.
@pytest.mark.parametrize(
    "method", rows([m for m in METHODS if m.state or not m.mixes])
)
def test_inference_looks_at_each_sample_alone(method):
    layer = method.shared()
    inputs = method.inputs()
    whole = outputs(answer(layer, method.given(inputs), training=False))
    half = outputs(
        answer(layer, method.given([a[1:5] for a in inputs]), training=False)
    )
    for a, b in zip(whole, half, strict=True):
        close(b, a[1:5])


# Renormalization without clipping normalizes by its state; where the order
# counts the last sample may be alone in its part.
@pytest.mark.parametrize(
    "method",
    rows([m for m in METHODS if m.label != "renorm" and not m.sees_order]),
)
def test_training_mixes_samples_where_the_table_says_so(method):
    inputs = method.inputs()
    inputs = [inputs[0].copy(), *inputs[1:]]
    before = outputs(
        answer(method.shared(), method.given(inputs), training=True)
    )
    # Not only larger: a layer may scale each sample first.
    inputs[0][-1] = 10.0 * inputs[0][-1, ..., ::-1]
    after = outputs(
        answer(method.shared(), method.given(inputs), training=True)
    )
    moved = np.max(np.abs(after[0][:-1] - before[0][:-1]))
    if method.mixes:
        assert moved > 1e-3
    else:
        close(after[0][:-1], before[0][:-1])


@pytest.mark.parametrize("method", rows(METHODS))
def test_empty_batch(method):
    layer = method.shared()
    before = state_of(layer)
    empty = [a[:0] for a in method.inputs()]
    for training in (True, False):
        y = outputs(answer(layer, method.given(empty), training=training))
        assert y[0].shape == method.result(empty[0].shape)
    assert_untouched(layer, before)


@pytest.mark.parametrize("method", rows(METHODS))
def test_constant_input(method):
    for value in (0.0, 1e4 + 0.1):
        inputs = method.inputs()
        inputs[0] = np.full_like(inputs[0], value)
        layer = method.shared()
        y = outputs(answer(layer, method.given(inputs), training=True))
        for t in y:
            assert np.all(np.isfinite(t))
        for v in layer.variables:
            assert np.all(np.isfinite(numpy(v)))
        if method.centres:
            beta = offset_of(method, layer, inputs)
            np.testing.assert_array_equal(y[0], beta)


def offset_of(method, layer, inputs):
    """What a layer adds to normalized data, broadcast to its output."""
    if method.conditions:
        # It depends on the sample; zeros are constant too.
        given = method.given([0 * inputs[0], *inputs[1:]])
        return outputs(answer(layer, given, training=True))[0]
    weights = values(layer)[0]
    beta = weights.get("beta", weights.get("bias", np.zeros(8)))
    shape = method.result(inputs[0].shape)
    return np.broadcast_to(beta.astype("float32"), shape)


@pytest.mark.parametrize("method", rows(METHODS))
def test_gradients_are_finite_on_degenerate_inputs(method):
    x, *others = method.inputs()
    outlier = x.copy()
    outlier[(0,) * x.ndim] = 1e6
    cases = {
        "zeros": np.zeros_like(x),
        "constant": np.full_like(x, 3.0),
        "one channel": np.where(np.arange(8) == 2, x, 0.0),
        "outlier": outlier,
    }
    upstream = np.random.default_rng(0).normal(size=method.result(x.shape))
    for case, held in cases.items():
        given = [method.given([held.astype("float32"), *others])]
        check_finite(gradients(method.shared(), given, upstream), case)


def check_finite(found, case):
    inputs = found.inputs[0]
    inputs = inputs if isinstance(inputs, list) else [inputs]
    named = {f"input {i}": g for i, g in enumerate(inputs) if g is not None}
    for name, gradient in {**named, **found.weights}.items():
        assert np.all(np.isfinite(gradient)), f"{case}: {name}"


@pytest.mark.parametrize("method", rows(METHODS))
def test_one_sample_alone(method):
    inputs = [a[:1] for a in method.inputs()]
    layer = method.shared()
    for t in outputs(answer(layer, method.given(inputs), training=True)):
        assert np.all(np.isfinite(t))
    for v in layer.variables:
        assert np.all(np.isfinite(numpy(v)))


@pytest.mark.parametrize("method", representative(), ids=str)
def test_gradient_of_one_sample_alone(method):
    inputs = [a[:1] for a in method.inputs()]
    shape = method.result(inputs[0].shape)
    upstream = np.random.default_rng(0).normal(size=shape)
    found = gradients(method.shared(), [method.given(inputs)], upstream)
    check_finite(found, "one sample")


@pytest.mark.parametrize(
    "method", rows([m for m in METHODS if m.mixes and 2 in m.ranks])
)
def test_one_entry_per_channel(method):
    inputs = [a[:1] for a in method.inputs(2)]
    layer = method.shared(2)
    y = outputs(answer(layer, method.given(inputs), training=True))
    assert np.all(np.isfinite(y[0]))
    for v in layer.variables:
        assert np.all(np.isfinite(numpy(v)))


@pytest.mark.parametrize("method", first_of_each(), ids=str)
def test_same_seed_same_layer(method):
    found = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        layer = method.make()
        method.build(layer, method.shape())
        inputs = method.given(method.inputs())
        found.append(
            [
                *layer.get_weights(),
                *outputs(answer(layer, inputs, training=True)),
            ]
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_predict_and_evaluate_do_not_move_state():
    methods = [m for m in STATEFUL if not m.conditions and m.keeps_shape]
    x = keras.Input((4, 3, 8))
    built = [m.built() for m in methods]
    total = keras.layers.Add()([layer(x) for layer in built])
    model = keras.Model(x, total)
    model.compile(loss="mse", optimizer="sgd")
    before = [state_of(layer) for layer in built]
    data = methods[0].inputs()[0]
    model.predict(data, verbose=0)
    model.evaluate(data, data, verbose=0)
    for layer, state in zip(built, before, strict=True):
        assert_untouched(layer, state)
