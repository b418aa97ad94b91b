"""Whitening and coloring batch normalization, and the coloring recovery."""

import keras
import numpy as np
import pytest

from contract.method import scramble
from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm import operations
from keras_norm import recoveries
from keras_norm.layers import BatchNormalization
from keras_norm.layers import ComposedNormalization
from keras_norm.layers import DecorrelatedBatchNormalization
from keras_norm.layers import WhiteningColoringBatchNormalization
from oracles import ORACLES

JAX = keras.backend.backend() == "jax"
XLA = keras.backend.backend() != "torch"
# See test_batch_whitening.
ROUNDING = 30 * 2.0**-23
LABELS = np.array([2, 0, 1, 1, 2, 0, 0, 1], "int32")


def random(*shape, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def correlated(*shape, seed=0):
    mix = np.random.default_rng(seed + 1).normal(size=(shape[-1],) * 2)
    mix = 0.5 * mix / shape[-1] ** 0.5 + np.eye(shape[-1])
    return (random(*shape, seed=seed) @ mix).astype("float32")


def covariance(x):
    return np.cov(np.reshape(x, (-1, np.shape(x)[-1])).T.astype("float64"))


def array(t):
    return keras.ops.convert_to_numpy(t).astype("float64")


def scrambled(layer, *shapes):
    layer.build(*shapes)
    scramble(layer)
    return layer


# Identities -------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
@pytest.mark.parametrize("whitening", ["cholesky", "zca"])
def test_covariance_of_the_result(whitening, epsilon):
    x = correlated(20, 3, 4)
    layer = WhiteningColoringBatchNormalization(
        whitening=whitening, epsilon=epsilon
    )
    sigma = (1 - epsilon) * covariance(x) + epsilon * np.eye(4)
    rest = epsilon * np.eye(4)
    if whitening == "zca":
        # Epsilon enters twice.
        sigma, rest = sigma + rest, 2 * rest
    values, vectors = np.linalg.eigh(sigma)
    w = (vectors / np.sqrt(values)) @ vectors.T
    if whitening == "cholesky":
        w = np.linalg.inv(np.linalg.cholesky(sigma))
    wanted = (np.eye(4) - w @ rest @ w.T) / (1 - epsilon)
    found = covariance(array(layer(x, training=True)))
    bound = ROUNDING * np.linalg.cond(sigma)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("whitening", ["cholesky", "zca"])
def test_without_epsilon_it_is_decorrelated_normalization(whitening):
    x, upstream = correlated(20, 3, 4), random(20, 3, 4, seed=2)
    options = {"whitening": whitening, "epsilon": 0.0}
    layer = WhiteningColoringBatchNormalization(**options)
    same = DecorrelatedBatchNormalization(4, **options)
    a, b = (gradients(t, [x], upstream, jit=JAX) for t in (layer, same))
    rate = (59 / 60) ** 0.5
    bound = ROUNDING * np.linalg.cond(covariance(x))
    for found, wanted in (
        (a.outputs, b.outputs * rate),
        (a.inputs[0], b.inputs[0] * rate),
    ):
        assert np.max(np.abs(found - wanted)) < bound * np.max(np.abs(wanted))


def test_color_and_bias_are_a_dense_layer_on_white_data():
    x = correlated(8, 3, 4)
    layer = scrambled(WhiteningColoringBatchNormalization(), x.shape)
    color, bias = array(layer.color), array(layer.bias)
    y = array(layer(x, training=True))
    plain = WhiteningColoringBatchNormalization(use_bias=False)
    white = array(plain(x, training=True))
    close(y, white @ color + bias)


def test_state_is_the_unbiased_covariance_before_epsilon():
    x = correlated(8, 3, 4)
    layer = WhiteningColoringBatchNormalization(momentum=0.0, epsilon=0.1)
    y = array(layer(x, training=True))
    close(array(layer.moving_covariance)[0], covariance(x))
    # Inference shrinks it, as training does.
    close(inference(layer, [x]), y)


# Classes ----------------------------------------------------------------------

CLASSES = [{"num_classes": 3}, {"num_classes": 3, "num_bases": 2}]
# More positions than channels: one matrix for each sample. Fewer: two products.
SHAPES = [(8, 3, 2, 4), (8, 3, 4), (8, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", CLASSES, ids=str)
def test_forms_of_the_condition(options, shape):
    x = correlated(*shape)
    layer = WhiteningColoringBatchNormalization(epsilon=0.1, **options)
    scrambled(layer, x.shape, LABELS.shape)
    y = inference(layer, [x, LABELS], training=True)
    for same in (
        LABELS[:, None],
        LABELS.astype("float32"),
        LABELS.astype("int64"),
        np.eye(3, dtype="float32")[LABELS],
    ):
        close(inference(layer, [x, same], training=True), y)
    # Sample by sample, in inference.
    whole = inference(layer, [x, LABELS])
    for i in (0, 3):
        one = slice(i, i + 1)
        close(inference(layer, [x[one], LABELS[one]]), whole[one])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", CLASSES, ids=str)
def test_a_class_adds_nothing_at_the_start_and_learns(options, shape):
    x, upstream = correlated(*shape), random(*shape, seed=2)
    layer = WhiteningColoringBatchNormalization(epsilon=0.1, **options)
    plain = WhiteningColoringBatchNormalization(epsilon=0.1)
    found = gradients(layer, [x, LABELS], upstream, jit=JAX)
    same = gradients(plain, [x], upstream, jit=JAX)
    close(found.outputs, same.outputs)
    close(found.inputs[0], same.inputs[0])
    moved = {"class_color", "class_code", "class_bias"} & set(found.weights)
    assert moved
    for name in moved:
        assert np.all(np.any(found.weights[name] != 0, axis=-1))
    if "num_bases" not in options:
        # Every sample's gradient goes to its class, all to the shared color.
        total = np.sum(found.weights["class_color"], axis=0)
        close(total, found.weights["color"])


def test_bases_make_up_the_colors():
    x = correlated(8, 3, 4)
    layer = WhiteningColoringBatchNormalization(3, 2)
    scrambled(layer, x.shape, LABELS.shape)
    free = WhiteningColoringBatchNormalization(3)
    free.build(x.shape, LABELS.shape)
    code, basis = array(layer.class_code), array(layer.color_basis)
    free.class_color.assign(np.einsum("kb,bij->kij", code, basis))
    for name in ("color", "bias", "class_bias"):
        getattr(free, name).assign(getattr(layer, name))
    for same in (LABELS, np.eye(3, dtype="float32")[LABELS]):
        close(
            inference(layer, [x, same], training=True),
            inference(free, [x, same], training=True),
        )


@pytest.mark.parametrize(
    "options,shape",
    [
        ({}, (8,)),
        ({"num_classes": 3}, (8, 2)),
        ({"num_classes": 3}, (8, 3, 3)),
    ],
    ids=str,
)
def test_conditions_that_are_no_classes(options, shape):
    layer = WhiteningColoringBatchNormalization(**options)
    with pytest.raises(ValueError, match="Received: condition_shape"):
        layer(correlated(8, 3, 4), np.zeros(shape, "float32"))


def test_options_of_color_and_bias():
    layer = WhiteningColoringBatchNormalization(
        color_initializer="orthogonal",
        color_regularizer=keras.regularizers.L2(0.5),
        color_constraint="unit_norm",
        bias_initializer="ones",
        bias_regularizer="l1",
        bias_constraint="non_neg",
    )
    copy = WhiteningColoringBatchNormalization.from_config(layer.get_config())
    copy.build((None, 4))
    color = array(copy.color)
    close(color @ color.T, np.eye(4))
    close(array(copy.bias), np.ones(4))
    # |color|^2 = 4; the default factor of "l1" is 0.01.
    close(sum(array(t) for t in copy.losses), 0.5 * 4 + 0.01 * 4)
    assert isinstance(copy.color.constraint, keras.constraints.UnitNorm)
    assert isinstance(copy.bias.constraint, keras.constraints.NonNeg)


# The recovery behind other operations -----------------------------------------


def test_coloring_of_standardized_data():
    x = correlated(8, 3, 4)
    for options, given in (({}, [x]), ({"num_classes": 3}, [x, LABELS])):
        layer = ComposedNormalization(
            recovery=recoveries.Coloring(**options), epsilon=1e-3
        )
        scrambled(layer, [t.shape for t in given] if options else x.shape)
        plain = BatchNormalization(center=False, scale=False)
        white = array(plain(x, training=True))
        wanted = np.einsum("npi,nij->npj", white, color_of(layer, options))
        y = layer(given if options else x, training=True)
        close(array(y), wanted + bias_of(layer, options))


def color_of(layer, options):
    color = np.stack([array(layer.color)] * 8)
    return color + array(layer.class_color)[LABELS] if options else color


def bias_of(layer, options):
    bias = array(layer.bias)
    return bias + array(layer.class_bias)[LABELS][:, None] if options else bias


@pytest.mark.parametrize("shape", [(8, 3, 5), (8, 7, 5)], ids=str)
@pytest.mark.parametrize("options", [{}, {"num_classes": 3}], ids=str)
@pytest.mark.parametrize("area", ["batch", "instance"])
def test_coloring_of_groups_mixes_all_channels(area, options, shape):
    # Groups of 3 and 2; one matrix for the batch or for each sample.
    x = correlated(*shape)
    given = [x, LABELS] if options else [x]
    operation = operations.ZCA(3)
    colored = ComposedNormalization(
        area=area,
        operation=operation,
        recovery=recoveries.Coloring(**options),
        epsilon=0.1,
    )
    scrambled(colored, [t.shape for t in given] if options else x.shape)
    plain = ComposedNormalization(
        area=area, operation=operation, recovery="none", epsilon=0.1
    )
    white = array(plain(x, training=True))
    wanted = np.einsum("npi,nij->npj", white, color_of(colored, options))
    y = colored(given if options else x, training=True)
    close(array(y), wanted + bias_of(colored, options))


def test_names_of_the_recovery():
    layer = ComposedNormalization(operation="cholesky", recovery="coloring")
    assert layer.recovery == recoveries.Coloring()
    assert repr(layer.recovery) == "Coloring()"
    assert layer(correlated(8, 4), training=True).shape == (8, 4)


# Hard inputs ------------------------------------------------------------------


def few(rng):
    return rng.normal(size=(5, 8))


def constant_channels(rng):
    x = rng.normal(size=(40, 8))
    x[:, [1, 2, 6]] = 7.0
    return x


def duplicated_channels(rng):
    return np.repeat(rng.normal(size=(40, 4)), 2, axis=1)


def one_sample(rng):
    return rng.normal(size=(1, 8))


def large_half(rng):
    x = rng.uniform(-6e4, 6e4, size=(40, 8))
    x[:, 3] = x[:, 0]
    return x.astype("float16")


HARD = [few, constant_channels, duplicated_channels, one_sample, large_half]


@pytest.mark.parametrize("whitening", ["cholesky", "zca"])
@pytest.mark.parametrize("case", HARD, ids=lambda f: f.__name__)
def test_hard_inputs(whitening, case):
    rng = np.random.default_rng(0)
    x = case(rng)
    dtype = "float16" if x.dtype == "float16" else "float32"
    x = x.astype(dtype)
    layer = WhiteningColoringBatchNormalization(whitening=whitening)
    upstream = rng.normal(size=x.shape)
    found = gradients(layer, [x], upstream, jit=JAX, dtype=dtype)
    for values in (found.outputs, found.inputs[0], *found.weights.values()):
        assert np.all(np.isfinite(values))
    for variable in layer.non_trainable_weights:
        assert np.all(np.isfinite(array(variable)))
    assert np.all(np.isfinite(inference(layer, [x], dtype=dtype)))
    if case is large_half or case is one_sample:
        return
    oracle = ORACLES["WhiteningColoringBatchNormalization"]
    wanted, _ = oracle([x], {"whitening": whitening}, {}, {}, True)
    bound = ROUNDING * np.linalg.norm(covariance(x), 2) / 1e-3
    assert bound < 0.05
    np.testing.assert_allclose(found.outputs, wanted, rtol=0, atol=bound)


# Fit --------------------------------------------------------------------------


@pytest.mark.compile
def test_fit_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    x, labels = keras.Input((3, 3, 6)), keras.Input((1,), dtype="int32")
    layers = [
        WhiteningColoringBatchNormalization(3),
        WhiteningColoringBatchNormalization(3, 2, whitening="zca"),
    ]
    y = [layer(x, labels) for layer in layers]
    layers.append(WhiteningColoringBatchNormalization())
    y = keras.layers.Concatenate()([*y, layers[-1](x)])
    y = keras.layers.Activation("tanh")(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model([x, labels], keras.layers.Dense(1, dtype="float32")(y))
    model.compile("sgd", "mse", jit_compile=XLA)
    data = [300 * correlated(16, 3, 3, 6), np.tile(LABELS, 2)[:, None]]
    history = model.fit(data, random(16, 1), batch_size=6, epochs=2, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    for layer in layers:
        for variable in layer.weights:
            assert variable.dtype == "float32"
            assert np.all(np.isfinite(array(variable)))
        assert np.any(array(layer.color) != np.eye(6))
