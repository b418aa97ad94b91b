"""Outputs, states and moving averages, against the formulas in float64."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from gradients import inference
from layers.recurrent.cases import BATCH
from layers.recurrent.cases import EPSILON
from layers.recurrent.cases import FEATURES
from layers.recurrent.cases import HOLES
from layers.recurrent.cases import MASKS
from layers.recurrent.cases import NEAR
from layers.recurrent.cases import TIME
from layers.recurrent.cases import UNITS
from layers.recurrent.cases import array
from layers.recurrent.cases import assign
from layers.recurrent.cases import built
from layers.recurrent.cases import call
from layers.recurrent.cases import first_states
from layers.recurrent.cases import formula
from layers.recurrent.cases import given_states
from layers.recurrent.cases import moving
from layers.recurrent.cases import near
from layers.recurrent.cases import parameters
from layers.recurrent.cases import sequences

LSTM, GRU = "LayerNormalizedLSTM", "LayerNormalizedGRU"
BATCH_LSTM = "BatchNormalizedLSTM"
ALL = [LSTM, GRU, BATCH_LSTM]
OTHERS = {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}
LSTM_CASES = [
    {},
    {"placement": "sum"},
    {"norm_per_gate": True},
    {"placement": "sum", "norm_per_gate": True, "normalize_carry": True},
    {"normalize_carry": True, "epsilon": 1e-3},
    {"use_bias": False},
    OTHERS,
]
GRU_CASES = [
    {"reset_after": after, "placement": placement, "norm_per_gate": per_gate}
    for after in (True, False)
    for placement in ("separate", "sum")
    for per_gate in (False, True)
] + [
    {"use_bias": False},
    {"use_bias": False, "reset_after": False},
    {"epsilon": 0.1, **OTHERS},
]
CASES = (
    [(LSTM, options) for options in LSTM_CASES]
    + [(GRU, options) for options in GRU_CASES]
    + [(BATCH_LSTM, options) for options in ({}, {"use_bias": False}, OTHERS)]
)


def words(options):
    return "-".join(f"{k}={v}" for k, v in options.items()) or "defaults"


def case_id(value):
    return value if isinstance(value, str) else words(value)


def check(name, options, mask=None, training=False, tolerance=NEAR):
    """One call from drawn states, against the formula."""
    layer = built(name, **options)
    x, states = sequences(), first_states(name)
    found = inference(
        layer,
        [x, given_states(name, states)],
        mask=mask,
        training=training,
    )
    function = formula(name, options, moving(layer), training)
    outputs, last, _ = function(
        x, parameters(layer), initial_state=states, mask=mask
    )
    near(found[0], outputs, tolerance)
    for actual, expected in zip(found[1:], last, strict=True):
        near(actual, expected, tolerance)
    return layer, found


@pytest.mark.parametrize("name, options", CASES, ids=case_id)
def test_variants(name, options):
    check(name, options)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", ALL)
def test_masks(name, mask, training):
    check(name, {}, MASKS[mask], training)


@pytest.mark.parametrize(
    "options, mask",
    [
        ({"go_backwards": True}, HOLES),
        ({"zero_output_for_mask": True}, HOLES),
        # Unrolled loops of Keras do not turn masks around on PyTorch, and do
        # not know `zero_output_for_mask` on JAX.
        ({"unroll": True}, HOLES),
        ({"go_backwards": True, "unroll": True}, None),
    ],
    ids=["backwards", "zeros", "unrolled", "unrolled backwards"],
)
@pytest.mark.parametrize("name", ALL)
def test_loop(name, options, mask):
    check(name, options, mask, training=name == BATCH_LSTM)


@pytest.mark.parametrize("name", ALL)
def test_what_is_returned(name):
    layer = built(name)
    x = sequences()
    function = formula(name, {}, moving(layer))
    outputs, states, _ = function(x, parameters(layer), mask=HOLES)
    layer.return_state = False
    near(inference(layer, [x], mask=HOLES), outputs)
    layer.return_sequences = False
    near(inference(layer, [x], mask=HOLES), outputs[:, -1])
    layer.return_state = True
    last, *found = inference(layer, [x], mask=HOLES)
    near(last, outputs[:, -1])
    for actual, expected in zip(found, states, strict=True):
        near(actual, expected)


@pytest.mark.parametrize("name", ALL)
def test_states_are_kept_between_calls(name):
    layer = built(name, stateful=True)
    x, more = sequences(), sequences(9)
    function = formula(name, {}, moving(layer))
    first, states, _ = function(x, parameters(layer))
    second, _, _ = function(more, parameters(layer), initial_state=states)
    near(array(layer(x)[0]), first)
    near(array(layer(more)[0]), second)
    layer.reset_state()
    near(array(layer(x)[0]), first)


@pytest.mark.parametrize(
    "cell, name, options",
    [
        ("LayerNormalizedLSTMCell", LSTM, {}),
        ("LayerNormalizedLSTMCell", LSTM, LSTM_CASES[3]),
        ("LayerNormalizedGRUCell", GRU, {}),
        ("LayerNormalizedGRUCell", GRU, GRU_CASES[7]),
    ],
    ids=case_id,
)
def test_cells_in_a_loop_of_keras(cell, name, options):
    layer = built(name, **options)
    cell = getattr(kn.layers, cell)(UNITS, **options)
    loop = keras.layers.RNN(cell, return_sequences=True, return_state=True)
    loop.build((None, TIME, FEATURES))
    loop.set_weights(layer.get_weights())
    x = sequences()
    for a, b in zip(
        inference(loop, [x], mask=HOLES),
        inference(layer, [x], mask=HOLES),
        strict=True,
    ):
        near(a, b)


@pytest.mark.parametrize(
    "policy, unit",
    [("mixed_float16", 2.0**-11), ("mixed_bfloat16", 2.0**-8)],
)
@pytest.mark.parametrize("name", ALL)
def test_half_precision(name, policy, unit):
    # Weights, products, and states are rounded to the narrow type, means and
    # variances are not: some 16 roundings of a number at every time step, as
    # independent errors.
    tolerance = 4 * np.sqrt(16 * TIME) * unit
    options = {"dtype": policy}
    _, found = check(name, options, HOLES, name == BATCH_LSTM, tolerance)
    for output in found:
        assert output.dtype.name in (policy.removeprefix("mixed_"), "float32")


# Gates where Keras has them ---------------------------------------------------


def centred(kernel, parts):
    """Blocks of columns with a mean of 0: nothing to be subtracted."""
    blocks = np.split(kernel, np.cumsum(parts)[:-1], axis=1)
    return np.concatenate([b - b.mean(1, keepdims=True) for b in blocks], 1)


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_of_keras(reset_after):
    # With a large epsilon and gains of its root only means are subtracted.
    large = 1e8
    plain = keras.layers.GRU(
        UNITS, reset_after=reset_after, return_sequences=True
    )
    plain.build((None, TIME, FEATURES))
    assign(plain)
    kernel, recurrent, bias = plain.get_weights()
    parts = [2 * UNITS, UNITS]
    plain.set_weights([centred(kernel, parts), centred(recurrent, parts), bias])
    layer = built(
        GRU, epsilon=large, reset_after=reset_after, return_state=False
    )
    layer.set_weights(plain.get_weights())
    for v in layer.trainable_variables[3:]:
        v.assign(np.full(v.shape, np.sqrt(large)))
    x = sequences()
    near(inference(layer, [x]), inference(plain, [x]))


def test_lstm_of_keras():
    # Moving means of 0 and variances of 1 - epsilon: nothing is normalized.
    plain = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True)
    plain.build((None, TIME, FEATURES))
    assign(plain)
    layer = built(BATCH_LSTM)
    layer.set_weights(plain.get_weights())
    for v in layer.variables:
        if "mean" in v.name or "beta" in v.name:
            v.assign(np.zeros(v.shape))
        elif "variance" in v.name or "gamma" in v.name:
            v.assign(np.full(v.shape, 1 - 1e-5 * ("variance" in v.name)))
    x = sequences()
    for a, b in zip(inference(layer, [x]), inference(plain, [x]), strict=True):
        near(a, b)


def test_carry_of_keras():
    # One step of centred gates: the same c, and h of the centred c.
    large = 1e8
    plain = keras.layers.LSTM(UNITS, return_state=True)
    plain.build((None, 1, FEATURES))
    assign(plain)
    kernel, recurrent, bias = plain.get_weights()
    parts = [4 * UNITS]
    plain.set_weights([centred(kernel, parts), centred(recurrent, parts), bias])
    layer = built(LSTM, epsilon=large)
    layer.set_weights(plain.get_weights())
    for v in layer.trainable_variables[3:]:
        v.assign(np.full(v.shape, np.sqrt(large) * ("gamma" in v.name)))
    inputs = [sequences()[:, :1], first_states(LSTM)]
    h, _, c = inference(plain, inputs)
    _, h_normalized, c_too = inference(layer, inputs)
    near(c_too, c)
    o = h / np.tanh(c)
    mean = c.mean(1, keepdims=True)
    # The quotient loses what tanh(c) is small by.
    lost = 1 / np.abs(np.tanh(c)).min()
    near(h_normalized, o * np.tanh(c - mean), NEAR * lost)


# Batch statistics -------------------------------------------------------------


@pytest.mark.parametrize(
    "options, mask",
    [
        ({}, None),
        ({"momentum": 0.6, "unbiased": True}, HOLES),
        ({"max_time_steps": 2, "momentum": 0.6}, HOLES),
        ({"max_time_steps": 2, "go_backwards": True}, None),
        ({"max_time_steps": 7, "epsilon": 1e-3, "unroll": True}, HOLES),
    ],
    ids=["defaults", "unbiased", "longer", "backwards", "shorter"],
)
def test_moving_averages(options, mask):
    layer, weights = built(BATCH_LSTM, **options), None
    rows = options.get("max_time_steps", TIME)
    states = first_states(BATCH_LSTM)
    for seed in (0, 8):
        x, before = sequences(seed), moving(layer)
        weights = parameters(layer)
        given = {"initial_state": states, "mask": mask}
        function = formula(BATCH_LSTM, options, before, True)
        outputs, last, after = function(x, weights, **given)
        found = call(layer, x, states, mask)
        near(found[0], outputs)
        near(found[1], last[0])
        near(found[2], last[1])
        for name, value in moving(layer).items():
            assert len(value) == rows
            near(value, after[name])
            moved = (value != before[name]).any(1)
            assert moved.tolist() == [t < TIME for t in range(rows)]
    # Inference with what was found, the last row for all that is later.
    found = inference(layer, [x, states], mask=mask)
    function = formula(BATCH_LSTM, options, moving(layer))
    outputs, _, _ = function(x, weights, **given)
    near(found[0], outputs)


def test_time_steps_at_which_nobody_counts():
    mask = HOLES.copy()
    mask[:, 2] = False
    layer = built(BATCH_LSTM)
    before = moving(layer)
    states = first_states(BATCH_LSTM)
    x = sequences()
    function = formula(BATCH_LSTM, {}, before, True)
    outputs, _, after = function(
        x, parameters(layer), initial_state=states, mask=mask
    )
    near(call(layer, x, states, mask)[0], outputs)
    for name, value in moving(layer).items():
        near(value, after[name])
        np.testing.assert_array_equal(value[2], before[name][2])
        assert (value[1] != before[name][1]).any()


def test_masked_entries_may_be_anything():
    # Big numbers where nobody looks: nothing of them is left.
    layer = built(BATCH_LSTM)
    x, states = sequences(), first_states(BATCH_LSTM)
    wild = np.where(HOLES[:, :, None], x, np.float32(1e6))
    for a, b in zip(
        inference(layer, [wild, states], True, HOLES),
        inference(layer, [x, states], True, HOLES),
        strict=True,
    ):
        near(a, b)


def test_far_from_zero():
    layer = built(BATCH_LSTM)
    x, states = sequences() + np.float32(1e4), first_states(BATCH_LSTM)
    weights = parameters(layer)
    function = formula(BATCH_LSTM, {}, moving(layer), True)
    outputs, _, after = function(x, weights, initial_state=states)
    # The product W x is rounded before its mean is known: FEATURES roundings
    # of its largest partial sum, as a part of its standard deviation, times
    # the gain; every time step hands on about as much as it adds.
    reach = np.abs(x).max() * np.abs(weights["kernel"]).sum(0)
    rounded = FEATURES * EPSILON / 2 * reach
    z = x.astype("float64") @ weights["kernel"]
    part = rounded / z.std(0) * np.abs(weights["input_gamma"])
    tolerance = TIME * part.max()
    assert tolerance < 0.1
    near(call(layer, x, states)[0], outputs, tolerance)
    found = moving(layer)
    mean, variance = "input_moving_mean", "input_moving_variance"
    error = np.abs(found[mean] - after[mean])
    assert (error <= 2 * rounded).all()
    error = np.abs(found[variance] - after[variance])
    assert (error <= 2 * rounded * z.std(0) + NEAR * after[variance]).all()


def test_equal_samples_have_no_variance():
    layer = built(BATCH_LSTM)
    x = np.broadcast_to(sequences()[:1], (BATCH, TIME, FEATURES)).copy()
    outputs, _, _ = formula(BATCH_LSTM, {}, moving(layer), True)(
        x, parameters(layer)
    )
    # What rounding leaves of x - mean is divided by sqrt(epsilon).
    near(call(layer, x)[0], outputs, NEAR / np.sqrt(1e-5))


# Dropout ----------------------------------------------------------------------


@pytest.mark.parametrize("name", [LSTM, GRU])
def test_training_without_dropout(name):
    layer, x = built(name), sequences()
    for a, b in zip(
        inference(layer, [x], True), inference(layer, [x]), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("which", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize("name", ALL)
def test_dropout(name, which):
    layer, again = (
        built(name, return_state=False, **{which: 0.4, "seed": 3})
        for _ in range(2)
    )
    x, states = sequences(), first_states(name)
    inputs = [x, given_states(name, states)]
    call = {"initial_state": states}
    function = formula(name, {}, moving(layer))
    outputs, _, _ = function(x, parameters(layer), **call)
    near(inference(layer, inputs), outputs)
    function = formula(name, {}, moving(layer), True)
    whole, _, _ = function(x, parameters(layer), **call)
    dropped = inference(layer, inputs, True)
    assert np.isfinite(dropped).all()
    assert np.abs(dropped - whole).max() > 0.01
    np.testing.assert_array_equal(inference(again, inputs, True), dropped)
