"""Cross-iteration batch normalization: recent batches, compensated.

What every layer promises is tested in tests/contract.
"""

import itertools

import keras
import numpy as np
import pytest
from cross_iteration_cases import Beside
from cross_iteration_cases import Given
from cross_iteration_cases import array
from cross_iteration_cases import beside_kernel
from cross_iteration_cases import random
from cross_iteration_cases import values
from keras import ops

from contract.tolerances import close
from golden import rows
from gradients import gradients
from gradients import inference
from keras_norm import layers
from oracles import ORACLES

STEPS = 3
NAME = "CrossIterationBatchNormalization"


def trained(layer, x):
    """The output of one training call."""
    return array(layer(x, training=True))


# Against the formulas ---------------------------------------------------------


KERNELS = {
    "valid": ("CrossIterationConv2D", {"kernel_size": 3}),
    "same": (
        "CrossIterationConv2D",
        {"kernel_size": (3, 2), "padding": "same", "strides": 2},
    ),
    "dilated": (
        "CrossIterationConv2D",
        {"kernel_size": 2, "padding": "same", "dilation_rate": 2},
    ),
    "bias": ("CrossIterationConv2D", {"kernel_size": 3, "use_bias": True}),
    "inside": (
        "CrossIterationConv2D",
        {"kernel_size": 3, "epsilon_placement": "inside", "epsilon": 0.1},
    ),
    "burn in": ("CrossIterationDense", {"burn_in": 2}),
    "one": ("CrossIterationDense", {"window_size": 1, "scale": False}),
}


@pytest.mark.parametrize("case", KERNELS)
def test_steps_are_those_of_the_formulas(case):
    name, options = KERNELS[case]
    outputs = "filters" if "Conv" in name else "units"
    options = {"window_size": 3, outputs: 4, **options}
    beside = beside_kernel(name, (6, 5, 4, 3), options)
    for t in range(STEPS):
        beside.step([random(6, 5, 4, 3, seed=t)], t)
        beside.shift_kernel(0.05, t + 20)
    x = random(6, 5, 4, 3, seed=9)
    weights = values(beside.layer.trainable_variables)
    expected, _ = ORACLES[name](
        [x], beside.config, weights, beside.state, False
    )
    close(inference(beside.layer, [x]), expected, x.size)


def test_masked_steps_are_those_of_the_formulas():
    options = {"units": 4, "window_size": 3}
    beside = beside_kernel("CrossIterationDense", (6, 5, 3), options)
    mask = np.random.default_rng(0).uniform(size=(6, 5)) > 0.3
    for t in range(STEPS):
        beside.step([random(6, 5, 3, seed=t)], t, mask=mask)
        beside.shift_kernel(0.05, t + 20)


def test_given_kernel_is_compensated_as_the_formulas_say():
    options = {"window_size": 3}
    layer = Given(**options)
    w = random(3, 2, 3, 4, shift=0.0)
    layer.build((6, 3, 3, 4), (6, 5, 4, 3), w.shape)
    beside = Beside(NAME, layer, options)
    for t in range(STEPS):
        x = random(6, 5, 4, 3, seed=t)
        h = ops.conv(x, w, padding="valid", data_format="channels_last")
        beside.step([array(h), x, w], t)
        w = w + 0.05 * random(*w.shape, seed=t + 20, shift=0.0)


def test_without_a_kernel_past_statistics_are_as_they_were():
    layer = layers.CrossIterationBatchNormalization(window_size=3)
    layer.build((6, 5, 4))
    beside = Beside(NAME, layer, {"window_size": 3})
    for t in range(STEPS):
        beside.step([random(6, 5, 4, seed=t, shift=0.1 * t)], t)


def test_entries_that_the_step_makes_negative_are_left_out():
    options = {"filters": 4, "kernel_size": 2, "window_size": 4}
    beside = beside_kernel("CrossIterationConv2D", (6, 5, 4, 3), options)
    for t in range(STEPS):
        state = beside.step([random(6, 5, 4, 3, seed=t)], t)
        # So large that a first-order change is far off.
        beside.shift_kernel(0.6, t + 20)
    kernel = array(beside.layer.kernel).astype("float64")
    # Patches of the formulas are numbered channel first.
    kernel = np.moveaxis(kernel, 2, 0).reshape(-1, 4)
    moved = kernel - state["window_kernel"][:STEPS]
    mean = state["window_mean"] + np.sum(
        state["window_mean_slope"] * moved, axis=1
    )
    square = state["window_square"] + np.sum(
        state["window_square_slope"] * moved, axis=1
    )
    left_out = square < mean**2
    assert 0 < np.sum(left_out) < left_out.size


@pytest.mark.once
def test_gradient_of_h_in_the_vectors_is_a_part_of_it():
    """Why tests/golden takes dx and dW, and not dh.

    In a step with a window the program computes h once more for statistics:
    dx is what comes back from both, dh from one.
    """
    row = next(r for r in rows.read(rows.DATA) if r.method == NAME)
    for t in range(row.config["steps"]):
        dh, w, dx = (row.arrays[f"{n}_{t}"] for n in ("dh", "W", "dx"))
        back = np.zeros(dx.shape)
        for i, j in itertools.product(range(w.shape[2]), range(w.shape[3])):
            place = np.einsum("nohw,oc->nchw", dh, w[:, :, i, j])
            back[:, :, i : i + dh.shape[2], j : j + dh.shape[3]] += place
        error = np.max(np.abs(back - dx))
        assert (error < 1e-12) == (t < row.config["burnin"])


# What it is equal to ----------------------------------------------------------


def test_a_window_of_one_is_batch_normalization():
    options = {"epsilon": 1e-3, "momentum": 0.8}
    layer = layers.CrossIterationBatchNormalization(
        window_size=1, epsilon_placement="inside", **options
    )
    same = layers.BatchNormalization(unbiased_moving_variance=True, **options)
    x = random(6, 5, 4)
    upstream = random(6, 5, 4, seed=1)
    layer.build(x.shape)
    same.build(x.shape)
    a, b = (gradients(m, [x], upstream) for m in (layer, same))
    close(a.outputs, b.outputs)
    close(a.inputs[0], b.inputs[0])
    close(array(layer.moving_mean), array(same.moving_mean))
    close(array(layer.moving_variance), array(same.moving_variance))


def test_a_constant_kernel_gives_the_plain_average():
    layer = layers.CrossIterationConv2D(
        4, 2, window_size=3, center=False, scale=False, epsilon=0.0
    )
    batches = [random(6, 4, 4, 3, seed=t, shift=0.3 * t) for t in range(4)]
    layer.build(batches[0].shape)
    for x in batches:
        y = trained(layer, x)
    kernel = array(layer.kernel).astype("float64").reshape(-1, 4)
    found = []
    for x in batches[1:]:
        patches = [x[:, i : i + 3, j : j + 3] for i in (0, 1) for j in (0, 1)]
        found.append(np.concatenate(patches, axis=-1) @ kernel)
    mean = np.mean([np.mean(h, axis=(0, 1, 2)) for h in found], axis=0)
    square = np.mean([np.mean(h**2, axis=(0, 1, 2)) for h in found], axis=0)
    deviation = np.sqrt(square - mean**2)
    close(y, (found[-1] - mean) / deviation, batches[0].size)


def test_the_mean_of_the_same_inputs_is_exact_however_the_kernel_moves():
    layer = layers.CrossIterationDense(
        4, window_size=3, center=False, scale=False, epsilon=0.0
    )
    x = random(16, 3)
    layer.build(x.shape)
    trained(layer, x)
    layer.kernel.assign(array(layer.kernel) + random(3, 4, seed=3))
    y = trained(layer, x)
    # The mean is linear in the kernel: that of the window is the batch's.
    close(np.mean(y, axis=0), np.zeros(4), x.size)


def test_running_statistics_are_unbiased_averages_of_each_batch():
    layer = layers.CrossIterationBatchNormalization(
        window_size=3, momentum=0.5, burn_in=1
    )
    mean, variance = np.zeros(4), np.ones(4)
    layer.build((6, 4))
    for t in range(3):
        x = random(6, 4, seed=t)
        trained(layer, x)
        mean = 0.5 * mean + 0.5 * np.mean(x, axis=0, dtype="float64")
        batch = np.var(x, axis=0, ddof=1, dtype="float64")
        variance = 0.5 * variance + 0.5 * batch
    close(array(layer.moving_mean), mean)
    close(array(layer.moving_variance), variance)


def test_groups_are_convolutions_of_their_own():
    options = {"kernel_size": 3, "window_size": 3, "padding": "same"}
    whole = layers.CrossIterationConv2D(4, groups=2, **options)
    halves = [layers.CrossIterationConv2D(2, **options) for _ in range(2)]
    whole.build((6, 5, 4, 6))
    for half in halves:
        half.build((6, 5, 4, 3))
    for t in range(3):
        kernel = 0.3 * random(3, 3, 3, 4, seed=t // 2, shift=0.0)
        x = random(6, 5, 4, 6, seed=t)
        whole.kernel.assign(kernel)
        y = trained(whole, x)
        for g, half in enumerate(halves):
            half.kernel.assign(kernel[..., 2 * g : 2 * g + 2])
            part = trained(half, x[..., 3 * g : 3 * g + 3])
            close(y[..., 2 * g : 2 * g + 2], part, x.size)


def test_channels_first_is_channels_last():
    options = {"filters": 4, "kernel_size": 3, "window_size": 3}
    last = layers.CrossIterationConv2D(**options)
    first = layers.CrossIterationConv2D(data_format="channels_first", **options)
    last.build((6, 5, 4, 3))
    first.build((6, 3, 5, 4))
    first.kernel.assign(array(last.kernel))
    for t in range(2):
        x = random(6, 5, 4, 3, seed=t)
        y = trained(first, np.moveaxis(x, -1, 1))
        close(np.moveaxis(y, 1, -1), trained(last, x), x.size)


def test_weights_of_a_keras_layer_load():
    plain = keras.layers.Conv2D(4, 3, bias_initializer="ones")
    plain.build((None, 5, 4, 3))
    store = {}
    plain.save_own_variables(store)
    layer = layers.CrossIterationConv2D(4, 3, use_bias=True)
    layer.build((None, 5, 4, 3))
    layer.load_own_variables(store)
    for a, b in zip(layer.weights, plain.weights, strict=False):
        np.testing.assert_array_equal(array(a), array(b))


# Numbers ----------------------------------------------------------------------


@pytest.mark.parametrize("case", ["valid", "same", "dense", "given"])
def test_far_from_zero(case):
    """x = 1e4 + N(0, 1): the result of float64, with a kernel that moves.

    The formulas add up raw second moments, of 1e8, in float64: to 1e-8.
    """
    shift, size = 1e4, 1e-5
    if case == "given":
        layer = Given(window_size=4)
        w = np.eye(3, 4, dtype="float32") + 0.1 * random(3, 4, shift=0.0)
        layer.build((64, 4), (64, 3), w.shape)
        beside = Beside(NAME, layer, {"window_size": 4})
    else:
        name = "CrossIterationDense"
        options = {"units": 4, "window_size": 4}
        if case != "dense":
            name = "CrossIterationConv2D"
            options = {
                "filters": 4,
                "kernel_size": 3,
                "padding": case,
                "window_size": 4,
            }
        beside = beside_kernel(name, (16, 5, 4, 3), options)
    for t in range(STEPS):
        if case == "given":
            x = random(64, 3, seed=t, shift=shift)
            h = (x.astype("float64") @ w).astype("float32")
            inputs = [h, x, w]
            w = w + size * random(3, 4, seed=t + 20, shift=0.0)
        else:
            inputs = [random(16, 5, 4, 3, seed=t, shift=shift)]
        weights = values(beside.layer.trainable_variables)
        expected, beside.state = ORACLES[beside.name](
            inputs, beside.config, weights, beside.state, True
        )
        y = array(beside.layer(*inputs, training=True))
        # Zeros of the padding are 1e4 away from the data: y is not.
        assert np.max(np.abs(y - expected)) <= 1e-4
        if case != "given":
            beside.shift_kernel(size, t + 20)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_half_precision(dtype, padding):
    """The kernel in half precision, statistics and state in float32.

    A sum of products each rounded twice is off by about two roundings of its
    deviation, of which the largest of 400 is three and a half; h and y are
    rounded once more.
    """
    unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    options = {"filters": 4, "kernel_size": 3, "padding": padding}
    half = layers.CrossIterationConv2D(
        window_size=3, dtype=f"mixed_{dtype}", **options
    )
    same = layers.CrossIterationConv2D(window_size=3, **options)
    # Not to be held in float16: what is convolved is relative to a pivot.
    inputs = [100 * random(4, 5, 6, 3, seed=t) + 7e4 for t in range(3)]
    for layer in (half, same):
        layer.build(inputs[0].shape)
    same.set_weights(half.get_weights())
    for x in inputs:
        y, expected = half(x, training=True), same(x, training=True)
        assert keras.backend.standardize_dtype(y.dtype) == dtype
        y = array(ops.cast(y, "float32"))
        assert np.max(np.abs(y - array(expected))) <= 12 * unit
    for a, b in zip(half.weights, same.weights, strict=True):
        assert a.dtype in ("float32", "int32")
        if a.name.endswith("_rest"):
            # What is left of a rounded number is noise.
            continue
        scale = np.max(np.abs(array(b)))
        # Squares of sums of 27 products of the size of the largest.
        assert np.max(np.abs(array(a) - array(b))) <= 12 * unit * scale


# Training ---------------------------------------------------------------------


def network():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.CrossIterationConv2D(
                4, 3, padding="same", activation="relu", window_size=3
            ),
            keras.layers.GlobalAveragePooling2D(),
            layers.CrossIterationDense(3, window_size=3, burn_in=1),
            keras.layers.Dense(2),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        "mse",
        # PyTorch's compiler takes a minute.
        jit_compile=keras.backend.backend() != "torch",
    )
    return model


def data():
    return random(12, 6, 5, 3), random(12, 2, seed=1)


@pytest.mark.compile
def test_training_goes_on_after_loading(tmp_path):
    x, target = data()
    options = {"batch_size": 6, "shuffle": False, "verbose": 0}
    model = network()
    model.fit(x, target, epochs=1, **options)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    losses = [
        m.fit(x, target, epochs=2, **options).history["loss"]
        for m in (model, again)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert losses[0][0] != losses[0][-1]


def test_options_of_a_keras_layer_act():
    layer = layers.CrossIterationConv2D(
        4,
        3,
        activation="relu",
        use_bias=True,
        kernel_regularizer="l2",
        kernel_constraint="unit_norm",
        bias_initializer="ones",
        gamma_regularizer="l1",
    )
    y = array(layer(random(2, 5, 5, 3), training=True))
    assert np.min(y) == 0.0
    assert len(layer.losses) == 2
    assert layer.kernel.constraint is not None
    # In the moving mean as in the data.
    close(array(layer.bias), np.ones(4))
    assert layer.trainable_variables[1].name == "bias"


# Errors -----------------------------------------------------------------------


def test_a_kernel_belongs_to_an_input():
    x, h = random(6, 3), random(6, 4)
    layer = layers.CrossIterationBatchNormalization()
    with pytest.raises(ValueError, match="given together.*Received"):
        layer(h, layer_input=x)
    layer(h)
    with pytest.raises(ValueError, match="from the first call on"):
        layer(h, layer_input=x, kernel=random(3, 4))
    layer = layers.CrossIterationBatchNormalization()
    with pytest.raises(ValueError, match="`kernel` must have the shape"):
        layer(h, layer_input=x, kernel=random(3, 5))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"window_size": 0}, "`window_size`"),
        ({"burn_in": -1}, "`burn_in`"),
        ({"epsilon_placement": "beside"}, "`epsilon_placement`"),
    ],
)
def test_options_are_checked(options, text):
    for make in (
        lambda **o: layers.CrossIterationBatchNormalization(**o),
        lambda **o: layers.CrossIterationDense(4, **o),
    ):
        with pytest.raises(ValueError, match=f"{text}.*Received"):
            make(**options)
