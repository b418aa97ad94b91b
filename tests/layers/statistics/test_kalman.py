"""Kalman normalization, and what its predictions are made of.

Layers with predictions are outside of the contract's table: here are its tests
that apply.
"""

import keras
import numpy as np
import pytest
from keras import ops

from contract import test_config
from contract import test_errors
from contract import test_table
from contract.table.compensated_statistics import OUTSIDE
from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm import layers
from keras_norm import ops as kn_ops
from keras_norm.core import gaussian_moments
from oracles import GRADIENTS
from oracles import ORACLES

NAME = "KalmanNormalization"
JAX = keras.backend.backend() == "jax"
ROWS = [m for m in OUTSIDE if m.layer == NAME]


def random(*shape, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def values(variables):
    return {v.name: array(v).astype("float64") for v in variables}


def built(shape=(6, 5, 4), **options):
    """A layer of random weights and state."""
    layer = layers.KalmanNormalization(**options)
    layer.build(shape)
    for i, v in enumerate(layer.weights):
        if v.name != "keep":
            v.assign(array(v) + 0.3 * np.abs(random(*v.shape, seed=70 + i)))
    return layer


def predicted(scale=1.0, channels=4):
    mean = random(channels, seed=5)
    return [mean, scale * (0.5 + random(channels, seed=6) ** 2)]


# Against the formulas ---------------------------------------------------------


CASES = {
    "alone": ({}, None),
    "predicted": ({"keep": 0.6}, 1.0),
    "learned": ({"keep": 0.3, "learn_keep": True}, 1.0),
    # Variances 1e4 times as large are not used.
    "far": ({"learn_keep": True}, 1e4),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, masked):
    config, scale = CASES[case]
    layer = built(**config)
    inputs = [random(6, 5, 4), *(predicted(scale) if scale else [])]
    mask = None
    if masked:
        mask = np.random.default_rng(0).uniform(size=(6, 5)) > 0.3
    weights = values(layer.trainable_variables)
    state = values(layer.non_trainable_weights)
    expected, new = ORACLES[NAME](inputs, config, weights, state, True, mask)
    upstream = [random(*np.shape(y), seed=9, shift=0.0) for y in expected]
    if masked:
        upstream[0] = np.where(mask[..., None], upstream[0], 0.0)
    found = gradients(layer, inputs, upstream, mask=mask, jit=JAX)
    seen = slice(None) if mask is None else mask
    for a, b in zip(found.outputs, expected, strict=True):
        a, b = (a[seen], b[seen]) if b.ndim > 1 else (a, b)
        close(a, b, inputs[0].size)
    of_inputs, of_weights = GRADIENTS[NAME](
        inputs, config, weights, state, upstream, mask
    )
    for a, b in zip(found.inputs, of_inputs, strict=True):
        close(a, b, inputs[0].size, scale=8 * max(1, np.max(np.abs(b))))
    for name, gradient in found.weights.items():
        b = of_weights[name]
        close(gradient, b, inputs[0].size, scale=8 * max(1, np.max(abs(b))))
    for name, value in values(layer.non_trainable_weights).items():
        close(value, new[name], inputs[0].size)


def test_inference_uses_the_moving_statistics_alone():
    layer, x = built(), random(6, 5, 4)
    state = values(layer.non_trainable_weights)
    weights = values(layer.trainable_variables)
    expected, _ = ORACLES[NAME]([x], {}, weights, state, False)
    for inputs in ([x], [x, *predicted()]):
        for a, b in zip(inference(layer, inputs), expected, strict=True):
            close(a, b)
    layer.trainable = False
    for a, b in zip(layer(x, training=True), expected, strict=True):
        close(array(a), b)


def test_a_share_of_nothing_is_batch_normalization():
    x, upstream = random(6, 5, 4), random(6, 5, 4, seed=1)
    same = layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
    same.build(x.shape)
    expected = gradients(same, [x], upstream, jit=JAX)
    for options, inputs in (
        ({"keep": 0.0}, [x, *predicted()]),
        ({"keep": 0.9}, [x]),
    ):
        layer = layers.KalmanNormalization(**options)
        layer.build(x.shape)
        found = gradients(layer, inputs, [upstream], jit=JAX)
        close(found.outputs[0], expected.outputs)
        close(found.inputs[0], expected.inputs[0])
        close(array(layer.moving_variance), array(same.moving_variance))


# What every layer promises ----------------------------------------------------


@pytest.mark.parametrize(
    "check",
    [
        test_config.test_config_makes_the_same_layer,
        test_config.test_config_has_every_argument,
        test_config.test_layer_loads_by_its_registered_name,
        test_config.test_repr_says_what_it_is,
        test_config.test_misspelt_keyword_names_the_nearest,
        test_errors.test_batch_axis,
        test_errors.test_rank_one_is_refused,
        test_errors.test_channels_must_be_known,
        test_errors.test_mask_must_fit,
        test_errors.test_epsilon_is_not_negative,
        test_table.test_number_is_that_of_the_layer,
        test_table.test_weights_in_the_order_of_the_table,
        test_table.test_shapes_of_weights_and_state_are_those_of_the_formulas,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.parametrize("method", ROWS, ids=str)
def test_contract(check, method):
    if check is test_errors.test_mask_must_fit:
        check(method, (6, 5))
    else:
        check(method)


@pytest.mark.parametrize("prediction", [False, True])
def test_nothing_seen_moves_nothing(prediction):
    layer, x = built((6, 3, 5, 4)), random(6, 3, 5, 4)
    before = [array(v) for v in layer.non_trainable_weights]
    more = predicted() if prediction else []
    for given, mask in ((x[:0], None), (x, np.zeros(6, bool))):
        y = layer([given, *more], training=True, mask=mask)
        assert y[0].shape == given.shape
        # What was not seen is what was known.
        for a, b in zip(y[1:], before, strict=True):
            close(array(a), b)
    for a, b in zip(layer.non_trainable_weights, before, strict=True):
        np.testing.assert_array_equal(array(a), b)


def test_axis_one_and_constant_data():
    x = random(6, 5, 4)
    first, last = built((6, 4, 5), axis=1), built()
    first.set_weights(last.get_weights())
    moved = [np.moveaxis(x, -1, 1), *predicted()]
    y, *statistics = first(moved, training=True)
    expected, *others = last([x, *predicted()], training=True)
    close(np.moveaxis(array(y), 1, -1), array(expected))
    for a, b in zip(statistics, others, strict=True):
        close(array(a), array(b))
    for value in (0.0, 1e4 + 0.1):
        # The ratio is infinite: the prediction is not used.
        y = last([np.full_like(x, value), *predicted()], training=True)[0]
        beta = np.broadcast_to(array(last.beta), x.shape)
        np.testing.assert_array_equal(array(y), beta)


def test_far_from_zero_and_half_precision():
    x = random(6, 5, 4, shift=1e4)
    mean, variance = predicted()
    inputs = [x, mean + np.float32(1e4), variance]
    layer = built(keep=0.5)
    weights = values(layer.trainable_variables)
    state = values(layer.non_trainable_weights)
    expected, _ = ORACLES[NAME](inputs, {"keep": 0.5}, weights, state, True)
    y, *statistics = layer(inputs, training=True)
    assert np.max(np.abs(array(y) - expected[0])) <= 1e-4
    half = layers.KalmanNormalization(keep=0.5, dtype="mixed_float16")
    half.build(x.shape)
    half.set_weights([*weights.values(), *state.values()])
    y, *same = half(inputs, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    for a, b in zip(same, statistics, strict=True):
        assert keras.backend.standardize_dtype(a.dtype) == "float32"
        np.testing.assert_array_equal(array(a), array(b))


# Networks ---------------------------------------------------------------------


class Predict(keras.layers.Layer):
    """What a convolution after a ReLU makes of mean and variance."""

    def __init__(self, convolution, **kwargs):
        super().__init__(**kwargs)
        self.convolution = convolution

    def call(self, mean, variance):
        return kn_ops.propagate_moments(
            mean, variance, self.convolution.kernel, self.convolution.bias
        )

    def compute_output_spec(self, mean, variance):
        size = (self.convolution.filters,)
        return keras.KerasTensor(size), keras.KerasTensor(size)


def residual_network():
    """Two branches whose statistics add up."""
    keras.utils.set_random_seed(5)
    x = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(4, 3, padding="same")
    y, mean, variance = layers.KalmanNormalization()(first(x))
    second = keras.layers.Conv2D(4, 3, padding="same")
    z = second(keras.layers.ReLU()(y))
    z, *branch = layers.KalmanNormalization(learn_keep=True, name="fused")(
        [z, *Predict(second)(mean, variance)]
    )
    y = keras.layers.Add()([y, z])
    mean, variance = mean + branch[0], variance + branch[1]
    y = layers.KalmanNormalization()(y, mean=mean, variance=variance)[0]
    y = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(y))
    model = keras.Model(x, keras.layers.Dense(2)(y))
    model.compile(
        keras.optimizers.SGD(0.05),
        "mse",
        # PyTorch's compiler takes a minute.
        jit_compile=keras.backend.backend() != "torch",
    )
    return model


@pytest.mark.compile
def test_residual_network_learns(tmp_path):
    model = residual_network()
    x, target = random(12, 5, 4, 3), random(12, 2, seed=1)
    options = {"batch_size": 6, "shuffle": False, "verbose": 0}
    losses = model.fit(x, target, epochs=4, **options).history["loss"]
    assert losses[-1] < losses[0]
    keep = float(array(model.get_layer("fused").keep_weight))
    assert 0 <= keep <= 1
    assert keep != np.float32(0.9)
    again = residual_network()
    model.save_weights(tmp_path / "model.weights.h5")
    again.load_weights(tmp_path / "model.weights.h5")
    close(again.predict(x, verbose=0), model.predict(x, verbose=0), 60)


# Predictions ------------------------------------------------------------------


def test_propagated_moments_are_those_of_quadrature():
    mean = np.array([-3.0, -0.5, 0.0, 0.7, 4.0, 30.0], "float32")
    variance = np.array([1.0, 0.3, 2.0, 1.5, 0.1, 4.0], "float32")
    kernel = random(3, 2, 6, 5, shift=0.0)
    bias = random(5)
    found = kn_ops.propagate_moments(mean, variance, kernel, bias)
    through = gaussian_moments.of("relu", mean, np.sqrt(variance))
    wide = kernel.astype("float64")
    close(array(found[0]), np.sum(wide, (0, 1)).T @ through.mean + bias, 36)
    expected = np.sum(wide**2, (0, 1)).T @ through.deviation**2
    close(array(found[1]), expected, 36)
    linear = kn_ops.propagate_moments(mean, variance, kernel, activation=None)
    close(array(linear[1]), np.sum(wide**2, (0, 1)).T @ variance, 36)


def test_moments_of_groups_and_far_from_zero():
    mean, variance = predicted(channels=4)
    kernel = random(3, 2, 6, shift=0.0)
    whole = kn_ops.propagate_moments(mean, variance, kernel, groups=2)
    for g in range(2):
        part = slice(2 * g, 2 * g + 2), slice(3 * g, 3 * g + 3)
        half = kn_ops.propagate_moments(
            mean[part[0]], variance[part[0]], kernel[..., part[1]]
        )
        for a, b in zip(whole, half, strict=True):
            close(array(a)[part[1]], array(b))
    # The variance is no difference of squares of 1e6.
    one = np.ones((1, 1), "float32")
    for shift, expected in ((1e6, 2.0), (-1e6, 0.0)):
        found = kn_ops.propagate_moments(
            np.float32([shift]), np.float32([2.0]), one
        )
        close(array(found[1]), [expected])


def test_gradients_of_moments_are_finite_where_nothing_varies():
    class Through(keras.layers.Layer):
        def call(self, mean, variance, kernel):
            return kn_ops.propagate_moments(mean, variance, kernel)

    mean = np.float32([-1.0, 0.0, 2.0])
    inputs = [mean, np.zeros(3, "float32"), random(3, 2)]
    layer = Through()
    layer.built = True
    found = gradients(layer, inputs, [np.ones(2), np.ones(2)], jit=JAX)
    for gradient in found.inputs:
        assert np.all(np.isfinite(gradient))
    close(found.outputs[0], np.float32([0, 0, 2]) @ inputs[2])
    close(found.outputs[1], np.zeros(2))


# Errors -----------------------------------------------------------------------


def test_predictions_are_checked():
    x, (mean, variance) = random(6, 4), predicted()
    layer = built((6, 4))
    with pytest.raises(ValueError, match="predicted together.*Received"):
        layer(x, mean=mean)
    with pytest.raises(ValueError, match="`variance` must have one entry"):
        layer([x, mean, variance[:3]])
    with pytest.raises(ValueError, match="list .x, mean, variance"):
        layer([x, mean])
    for options in ({"keep": 1.5}, {"keep": None}, {"max_ratio": 0.0}):
        with pytest.raises(ValueError, match="Received"):
            layers.KalmanNormalization(**options)
    with pytest.raises(ValueError, match="`activation`.*Received"):
        kn_ops.propagate_moments(mean, variance, x[:4], activation="tanh")
    with pytest.raises(ValueError, match="`kernel` must have the shape"):
        kn_ops.propagate_moments(mean, variance, x[:3])
