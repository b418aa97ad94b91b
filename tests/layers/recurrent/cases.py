"""Recurrent layers with drawn weights, next to what their formulas give.

All have the same shapes, so that little is compiled anew.
"""

import keras
import numpy as np

import keras_norm as kn
from gradients import weight_name
from oracles import recurrent

BATCH, TIME, FEATURES, UNITS = 6, 4, 3, 4
EPSILON = float(np.finfo("float32").eps)
# An output passes, at every time step, through products over the features
# and the units, a mean and a variance over 4 gates, and some ten functions of
# one number; each rounds by half an epsilon, of numbers of the order of 1.
ROUNDINGS = TIME * (FEATURES + UNITS + 2 * 4 * UNITS + 10)
NEAR = ROUNDINGS * EPSILON / 2

ORACLES = {
    "LayerNormalizedLSTM": recurrent.layer_normalized_lstm,
    "LayerNormalizedGRU": recurrent.layer_normalized_gru,
    "BatchNormalizedLSTM": recurrent.batch_normalized_lstm,
}
# Arguments that shape weights or what is returned, not the formula.
NOT_OF_FORMULA = ("use_bias", "unroll", "max_time_steps", "dtype", "stateful")
SEQUENCES = {"return_sequences": True, "return_state": True}

PADDED = np.array(
    [
        [1, 1, 1, 1],
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 1],
        [1, 1, 1, 0],
        [1, 1, 0, 0],
    ],
    bool,
)
HOLES = np.array(
    [
        [1, 1, 1, 1],
        [0, 1, 1, 1],
        [1, 0, 1, 1],
        [1, 1, 0, 1],
        [0, 1, 0, 1],
        [1, 0, 1, 0],
    ],
    bool,
)
MASKS = {"padded": PADDED, "holes": HOLES}


def draw(*shape, seed=0):
    """Normal numbers, as float32 holds them."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def sequences(seed=0, time=TIME):
    return draw(BATCH, time, FEATURES, seed=seed)


def first_states(name, seed=1):
    count = 1 if name == "LayerNormalizedGRU" else 2
    return list(draw(count, BATCH, UNITS, seed=seed))


def given_states(name, states):
    """As the argument `initial_state` of this layer."""
    return states[0] if name == "LayerNormalizedGRU" else states


def short(name):
    """`lstm_cell/input_norm/gamma` as the formulas call it: `input_gamma`."""
    return "_".join(name.split("/")[1:]).replace("_norm_", "_")


def assign(layer, seed=2):
    """Draw all weights and moving averages of a built layer."""
    random = np.random.default_rng(seed)
    for v in layer.trainable_variables:
        value = 0.7 * random.normal(size=v.shape)
        v.assign(value + 1 if "gamma" in v.name else value)
    for v in layer.non_trainable_variables:
        if "moving" in v.name:
            value = 0.3 * random.normal(size=v.shape)
            v.assign(np.exp(value) if "variance" in v.name else value)


def built(name, time=TIME, **options):
    """A layer that returns sequences and states, its weights drawn."""
    layer = getattr(kn.layers, name)(UNITS, **{**SEQUENCES, **options})
    layer.build((BATCH if options.get("stateful") else None, time, FEATURES))
    assign(layer)
    return layer


def array(value):
    return np.array(keras.ops.convert_to_numpy(value))


def named(layer, variables):
    return {
        short(weight_name(layer, v)): array(v).astype("float64")
        for v in variables
    }


def parameters(layer):
    return named(layer, layer.trainable_variables)


def moving(layer):
    variables = [v for v in layer.non_trainable_variables if "moving" in v.name]
    return named(layer, variables)


def formula(name, options, state=None, training=False):
    """(x, weights, **call) -> outputs, states, moving averages or None."""
    options = {k: v for k, v in options.items() if k not in NOT_OF_FORMULA}

    def function(x, weights, **call):
        call = {**options, **call}
        if name != "BatchNormalizedLSTM":
            return *ORACLES[name](x, weights, **call), None
        return ORACLES[name](x, weights, state, training, **call)

    return function


def call(layer, x, states=None, mask=None, training=True):
    """Outputs of a call that moves the layer's state; compiled on JAX."""
    inputs = [x] if states is None else [x, states]
    keywords = {"training": training}
    if mask is not None:
        keywords["mask"] = keras.ops.convert_to_tensor(mask)
    if keras.backend.backend() != "jax":
        found = layer(*map(_tensors, inputs), **keywords)
        return [array(f) for f in found]
    import jax

    def step(weights, state, inputs):
        return layer.stateless_call(weights, state, *inputs, **keywords)

    variables = layer.non_trainable_variables
    found, state = jax.jit(step)(
        [w.value for w in layer.trainable_variables],
        [v.value for v in variables],
        inputs,
    )
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)
    return [array(f) for f in found]


def _tensors(arrays):
    return keras.tree.map_structure(keras.ops.convert_to_tensor, arrays)


def near(actual, expected, tolerance=NEAR):
    """To a fraction of the largest entry, and of 1; NaN: anything finite."""
    actual = np.asarray(actual, "float64")
    assert actual.shape == np.shape(expected)
    assert np.isfinite(actual).all()
    scale = max(1.0, np.nanmax(np.abs(expected)))
    assert np.nanmax(np.abs(actual - expected)) <= tolerance * scale
