"""Layers that Keras has too: ours and Keras' can take each other's place.

The same arguments in the same order with the same defaults, the same weights,
the same files, and at moderate inputs the same numbers, on every backend.
"""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_norm
from gradients import gradients

BACKEND = keras.backend.backend()
TWINS = (
    "BatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "RMSNormalization",
    "UnitNormalization",
)
CLIPPING = {"rmin": 0.5, "rmax": 2.0, "dmax": 0.5}

# name, arguments, shape of the input
CASES = {
    "batch": ("BatchNormalization", {}, (6, 5, 8)),
    "batch of vectors": ("BatchNormalization", {"momentum": 0.5}, (6, 8)),
    "batch of images": ("BatchNormalization", {"epsilon": 0.1}, (4, 5, 3, 8)),
    "batch channels first": ("BatchNormalization", {"axis": 1}, (4, 8, 3, 5)),
    "batch scale": ("BatchNormalization", {"center": False}, (6, 8)),
    "batch center": ("BatchNormalization", {"scale": False}, (6, 8)),
    "batch plain": (
        "BatchNormalization",
        {"scale": False, "center": False},
        (6, 8),
    ),
    "batch initializers": (
        "BatchNormalization",
        {
            "beta_initializer": "ones",
            "gamma_initializer": keras.initializers.Constant(2.0),
            "moving_mean_initializer": "ones",
            "moving_variance_initializer": keras.initializers.Constant(4.0),
        },
        (6, 8),
    ),
    "renorm": ("BatchNormalization", {"renorm": True}, (6, 5, 8)),
    "renorm clipped": (
        "BatchNormalization",
        {
            "renorm": True,
            "renorm_clipping": CLIPPING,
            "renorm_momentum": 0.8,
            "momentum": 0.9,
            "moving_variance_initializer": keras.initializers.Constant(4.0),
        },
        (6, 5, 8),
    ),
    "renorm plain": (
        "BatchNormalization",
        {"renorm": True, "scale": False, "center": False},
        (6, 8),
    ),
    "layer": ("LayerNormalization", {}, (6, 5, 8)),
    "layer scale": ("LayerNormalization", {"center": False}, (6, 8)),
    "layer center": ("LayerNormalization", {"scale": False}, (6, 8)),
    "layer two axes": ("LayerNormalization", {"axis": (1, 2)}, (6, 5, 8)),
    "layer three axes": (
        "LayerNormalization",
        {"axis": [1, 2, 3], "epsilon": 0.1},
        (4, 3, 2, 8),
    ),
    "group": ("GroupNormalization", {"groups": 2}, (6, 5, 8)),
    "group of images": ("GroupNormalization", {"groups": 4}, (4, 5, 3, 8)),
    "group channels first": (
        "GroupNormalization",
        {"groups": 2, "axis": 1},
        (4, 8, 3, 5),
    ),
    "group each": ("GroupNormalization", {"groups": -1}, (6, 5, 8)),
    "group one": (
        "GroupNormalization",
        {"groups": 1, "scale": False},
        (6, 5, 8),
    ),
    "group center": (
        "GroupNormalization",
        {"groups": 2, "center": False},
        (6, 5, 8),
    ),
    "RMS": ("RMSNormalization", {}, (6, 5, 8)),
    "RMS two axes": ("RMSNormalization", {"axis": (1, 2)}, (6, 5, 8)),
    "unit": ("UnitNormalization", {}, (6, 5, 8)),
    "unit two axes": ("UnitNormalization", {"axis": (1, 2)}, (6, 5, 8)),
}
cases = pytest.mark.parametrize("case", CASES)
twins = pytest.mark.parametrize("name", TWINS)


def keras_class(name):
    return getattr(keras.layers, name)


def our_class(name):
    return getattr(keras_norm.layers, name)


def directions():
    """Who gives and who takes."""
    return pytest.mark.parametrize(
        ("source", "target"),
        [
            pytest.param(keras_class, our_class, id="to-ours"),
            pytest.param(our_class, keras_class, id="to-keras"),
        ],
    )


def data(shape, seed=0):
    return np.random.default_rng(seed).normal(1.0, 2.0, shape).astype("float32")


def close(value, expected, tolerance=1e-5):
    np.testing.assert_allclose(value, expected, tolerance, tolerance)


def call(layer, x, **keywords):
    """A call with the arguments that this layer takes."""
    taken = inspect.signature(layer.call).parameters
    kept = {k: v for k, v in keywords.items() if k in taken}
    return ops.convert_to_numpy(layer(x, **kept))


def scrambled(layer, shape, seed=3):
    """The layer, built, with weights as after some training."""
    if not layer.built:
        layer.build(shape)
    rng = np.random.default_rng(seed)
    layer.set_weights(
        [w + rng.uniform(0.1, 0.5, w.shape) for w in layer.get_weights()]
    )
    return layer


def pair(case):
    """Keras' layer and ours, built, with the same weights; and the shape."""
    name, arguments, shape = CASES[case]
    theirs = scrambled(keras_class(name)(**arguments), shape)
    ours = our_class(name)(**arguments)
    ours.build(shape)
    ours.set_weights(theirs.get_weights())
    return theirs, ours, shape


# Arguments ------------------------------------------------------------------


@twins
def test_arguments_are_those_of_keras(name):
    def parameters(cls):
        found = inspect.signature(cls.__init__).parameters.values()
        return [
            (p.name, p.kind, p.default)
            for p in found
            if p.kind is not p.VAR_KEYWORD
        ]

    theirs, ours = parameters(keras_class(name)), parameters(our_class(name))
    assert ours[: len(theirs)] == theirs


@twins
def test_call_takes_what_that_of_keras_takes(name):
    theirs = list(inspect.signature(keras_class(name).call).parameters)
    ours = list(inspect.signature(our_class(name).call).parameters)
    # Keras' RMSNormalization calls its input `x`.
    expected = ["inputs" if p == "x" else p for p in theirs]
    assert ours[: len(expected)] == expected


def test_hidden_argument_rms_scaling_of_layer_normalization():
    x = data((6, 5, 8))
    with pytest.warns(UserWarning, match="deprecated"):
        theirs = keras.layers.LayerNormalization(rms_scaling=True)
    with pytest.warns(UserWarning, match="deprecated"):
        expected = call(theirs, x)
    ours = keras_norm.layers.LayerNormalization(rms_scaling=True)
    close(call(ours, x), expected)
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]


@cases
@directions()
def test_config_makes_the_other_layer(case, source, target):
    name, arguments, shape = CASES[case]
    first = scrambled(source(name)(**arguments), shape)
    second = target(name).from_config(first.get_config())
    second.build(shape)
    second.set_weights(first.get_weights())
    x = data(shape)
    close(call(second, x, training=True), call(first, x, training=True))
    close(call(second, x, training=False), call(first, x, training=False))


# Weights --------------------------------------------------------------------


@cases
def test_weights_are_those_of_keras(case):
    name, arguments, shape = CASES[case]
    theirs, ours = keras_class(name)(**arguments), our_class(name)(**arguments)
    theirs.build(shape)
    ours.build(shape)

    def described(weights):
        return [(w.name, tuple(w.shape), w.dtype, w.trainable) for w in weights]

    assert described(ours.weights) == described(theirs.weights)
    assert described(ours.trainable_weights) == described(
        theirs.trainable_weights
    )
    assert described(ours.non_trainable_weights) == described(
        theirs.non_trainable_weights
    )
    # As they are initialized.
    for w, v in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        close(w, v, 1e-7)


@cases
@directions()
def test_weights_are_exchanged(case, source, target):
    name, arguments, shape = CASES[case]
    first = scrambled(source(name)(**arguments), shape)
    second = target(name)(**arguments)
    second.build(shape)
    second.set_weights(first.get_weights())
    for w, v in zip(second.weights, first.weights, strict=True):
        assert w.name == v.name
        np.testing.assert_array_equal(
            ops.convert_to_numpy(w), ops.convert_to_numpy(v)
        )


def model(layer, shape):
    """A small model with the layer in the middle."""
    wide = shape[1:]
    inputs = keras.Input(wide)
    x = keras.layers.Dense(wide[-1], name="before")(inputs)
    x = layer(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="after")(x))


@cases
@directions()
def test_weight_files_of_models_are_exchanged(case, source, target, tmp_path):
    name, arguments, shape = CASES[case]
    layer = source(name)(name="norm", **arguments)
    first = model(layer, shape)
    scrambled(layer, shape)
    first.save_weights(tmp_path / "first.weights.h5")
    second = model(target(name)(name="norm", **arguments), shape)
    second.load_weights(tmp_path / "first.weights.h5")
    assert len(first.weights) == len(second.weights)
    for w, v in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(w, v)
    x = data(shape)
    close(
        ops.convert_to_numpy(second(x)),
        ops.convert_to_numpy(first(x)),
    )


# Whole models ---------------------------------------------------------------


@cases
def test_model_of_ours_loads_where_there_is_only_keras(
    case, tmp_path, monkeypatch
):
    name, arguments, shape = CASES[case]
    layer = our_class(name)(**arguments)
    first = model(layer, shape)
    if name in ("LayerNormalization", "GroupNormalization", "RMSNormalization"):
        # Theirs take no `mask`, which a functional model's file names.
        first = keras.Sequential(first.layers)
    scrambled(layer, shape)
    first.save(tmp_path / "first.keras")
    # As in a process that has never imported keras_norm: Keras lets what is
    # registered win over `custom_objects`.
    registered = f"keras_norm>{name}"
    monkeypatch.delitem(keras.saving.get_custom_objects(), registered)
    second = keras.models.load_model(
        tmp_path / "first.keras",
        custom_objects={registered: keras_class(name)},
    )
    kinds = [type(layer) for layer in second.layers]
    assert keras_class(name) in kinds
    x = data(shape)
    close(ops.convert_to_numpy(second(x)), ops.convert_to_numpy(first(x)))


@cases
def test_model_of_keras_loads_and_becomes_one_of_ours(case, tmp_path):
    """Keras 3.15 does not let `custom_objects` replace its own layers in
    .keras files (they have no registered name); cloning does replace them.
    """
    name, arguments, shape = CASES[case]
    layer = keras_class(name)(**arguments)
    first = model(layer, shape)
    scrambled(layer, shape)
    first.save(tmp_path / "first.keras")
    loaded = keras.models.load_model(
        tmp_path / "first.keras", custom_objects={name: our_class(name)}
    )

    def ours(layer):
        cls = our_class(name) if type(layer) is keras_class(name) else None
        return (cls or type(layer)).from_config(layer.get_config())

    second = keras.models.clone_model(loaded, clone_function=ours)
    second.set_weights(loaded.get_weights())
    assert type(second.layers[2]) is our_class(name)
    x = data(shape)
    close(ops.convert_to_numpy(second(x)), ops.convert_to_numpy(first(x)))
    close(
        ops.convert_to_numpy(second(x, training=True)),
        ops.convert_to_numpy(first(x, training=True)),
    )


@pytest.mark.parametrize(
    # Keras loses the axes of a layer that has several, its own too.
    "case",
    [c for c in CASES if "axes" not in c],
)
def test_old_model_file_of_keras_loads_with_our_layer(case, tmp_path):
    """In .h5 files, Keras lets custom objects replace its own layers."""
    name, arguments, shape = CASES[case]
    layer = keras_class(name)(**arguments)
    first = model(layer, shape)
    scrambled(layer, shape)
    first.save(tmp_path / "first.h5")
    second = keras.models.load_model(
        tmp_path / "first.h5", custom_objects={name: our_class(name)}
    )
    assert type(second.layers[2]) is our_class(name)
    x = data(shape)
    close(ops.convert_to_numpy(second(x)), ops.convert_to_numpy(first(x)))


# Numbers --------------------------------------------------------------------


@cases
def test_outputs_and_state_are_those_of_keras(case):
    theirs, ours, shape = pair(case)
    for step in range(3):
        x = data(shape, seed=step)
        close(
            call(ours, x, training=True), call(theirs, x, training=True), 2e-5
        )
        for w, v in zip(ours.weights, theirs.weights, strict=True):
            close(ops.convert_to_numpy(w), ops.convert_to_numpy(v), 2e-5)
    x = data(shape, seed=7)
    close(call(ours, x, training=False), call(theirs, x, training=False), 2e-5)
    close(call(ours, x), call(theirs, x), 2e-5)


@pytest.mark.parametrize(
    "case",
    [
        "batch",
        "batch channels first",
        "renorm clipped",
        "layer",
        "layer two axes",
        "group",
        "RMS",
        "unit two axes",
    ],
)
def test_gradients_are_those_of_keras(case):
    theirs, ours, shape = pair(case)
    x, upstream = data(shape), data(shape, seed=1)
    expected = gradients(theirs, [x], upstream)
    found = gradients(ours, [x], upstream)
    close(found.inputs[0], expected.inputs[0], 1e-4)
    for name in expected.weights:
        close(found.weights[name], expected.weights[name], 1e-4)


@pytest.mark.parametrize("case", ["batch", "renorm clipped"])
def test_training_goes_as_with_keras(case):
    name, arguments, shape = CASES[case]
    x, y = data((12, *shape[1:])), data((12, 3), seed=1)
    losses = []
    weights = None
    for cls in (keras_class(name), our_class(name)):
        trained = model(cls(**arguments), shape)
        if weights is not None:
            trained.set_weights(weights)
        weights = trained.get_weights()
        trained.compile(keras.optimizers.SGD(0.01), "mse")
        history = trained.fit(
            x, y, batch_size=5, epochs=2, shuffle=False, verbose=0
        )
        losses.append(
            [*history.history["loss"], trained.evaluate(x, y, verbose=0)]
        )
    close(losses[1], losses[0], 1e-4)


@pytest.mark.parametrize("shape", [(6, 8), (6, 5, 8), (4, 5, 3, 8)])
@pytest.mark.parametrize("renorm", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_masks_of_batch_normalization_mean_what_they_mean_in_keras(
    shape, renorm, dtype
):
    theirs = scrambled(keras.layers.BatchNormalization(renorm=renorm), shape)
    ours = keras_norm.layers.BatchNormalization(renorm=renorm)
    ours.build(shape)
    ours.set_weights(theirs.get_weights())
    x = data(shape)
    mask = np.random.default_rng(4).integers(0, 2, shape[:-1]).astype(dtype)
    mask[0] = 1
    for training in (True, False):
        close(
            call(ours, x, training=training, mask=mask),
            call(theirs, x, training=training, mask=mask),
            2e-5,
        )
    for w, v in zip(ours.weights, theirs.weights, strict=True):
        close(ops.convert_to_numpy(w), ops.convert_to_numpy(v), 2e-5)


@pytest.mark.parametrize("name", TWINS)
def test_masks_travel_on(name):
    inputs = keras.Input((5, 8))
    arguments = {"groups": 2} if name == "GroupNormalization" else {}
    x = keras.layers.Masking()(inputs)
    layer = our_class(name)(**arguments)
    # As Keras' layers except RMSNormalization, which forgets to say so.
    assert layer.supports_masking
    mask = getattr(layer(x), "_keras_mask", None)
    assert mask is not None
    assert tuple(mask.shape) == (None, 5)


# What else Keras' own tests ask ----------------------------------------------


def test_frozen_layer_behaves_as_in_inference():
    for cls in (
        keras.layers.BatchNormalization,
        keras_norm.layers.BatchNormalization,
    ):
        layer = scrambled(cls(), (6, 8))
        layer.trainable = False
        before = layer.get_weights()
        x = data((6, 8))
        close(call(layer, x, training=True), call(layer, x, training=False))
        for w, v in zip(layer.get_weights(), before, strict=True):
            np.testing.assert_array_equal(w, v)
        assert len(layer.non_trainable_weights) == 4
        layer.trainable = True
        assert len(layer.trainable_weights) == 2


@pytest.mark.parametrize("name", TWINS[:3])
def test_regularizers_constraints_and_losses(name):
    arguments = {
        "beta_regularizer": "l2",
        "gamma_regularizer": keras.regularizers.L1(0.1),
        "beta_constraint": "non_neg",
        "gamma_constraint": keras.constraints.MaxNorm(1.0),
    }
    if name == "GroupNormalization":
        arguments["groups"] = 2
    found = []
    for cls in (keras_class(name), our_class(name)):
        layer = scrambled(cls(**arguments), (6, 8))
        found.append([ops.convert_to_numpy(loss) for loss in layer.losses])
        assert len(layer.losses) == 2
        assert type(layer.gamma.constraint) is keras.constraints.MaxNorm
        assert type(layer.beta.constraint) is keras.constraints.NonNeg
    close(found[1], found[0])


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_outputs_are_those_of_keras(name, dtype):
    arguments = {"groups": 2} if name == "GroupNormalization" else {}
    x = data((6, 5, 8))
    found = []
    for cls in (keras_class(name), our_class(name)):
        layer = cls(dtype=dtype, **arguments)
        y = layer(x)
        assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
        for weight in layer.weights:
            assert weight.dtype == "float32"
        found.append(ops.convert_to_numpy(ops.cast(y, "float32")))
    close(found[1], found[0], 2e-2 if dtype == "mixed_bfloat16" else 4e-3)


def made_for(name, arguments, shape):
    return lambda: our_class(name)(**arguments)(keras.Input(batch_shape=shape))


# Words of Keras' messages that Keras' own tests, and perhaps users, match.
MESSAGES = [
    (
        "GroupNormalization",
        {"groups": 3},
        (2, 2, 2, 4),
        ValueError,
        "must be a multiple of the number of channels",
    ),
    (
        "GroupNormalization",
        {"groups": 8},
        (2, 2, 2, 4),
        ValueError,
        "cannot be more than the number of channels",
    ),
    (
        "GroupNormalization",
        {"groups": 2},
        (2, 2, 2, None),
        ValueError,
        "input tensor should have a defined dimension but the layer "
        "received an input with shape",
    ),
    *(
        (
            "GroupNormalization",
            {"groups": groups},
            None,
            ValueError,
            "Received an invalid value for argument `groups`",
        )
        for groups in (0, -2, -100)
    ),
    (
        "BatchNormalization",
        {"renorm": True, "renorm_clipping": {"rmax": 1.0, "rmix": 0.5}},
        None,
        ValueError,
        "Received invalid keys",
    ),
    (
        "BatchNormalization",
        {"renorm": True, "renorm_clipping": {"rmax": 0.5, "rmin": 1.0}},
        None,
        ValueError,
        "rmax should be",
    ),
    (
        "BatchNormalization",
        {"renorm": True, "renorm_clipping": {"dmax": -1.0}},
        None,
        ValueError,
        "dmax should be non-negative",
    ),
    (
        "LayerNormalization",
        {"axis": {"axis": -1}},
        None,
        TypeError,
        "Expected an int or a list/tuple of ints for the argument 'axis'",
    ),
    (
        "UnitNormalization",
        {"axis": {"axis": -1}},
        None,
        TypeError,
        "xpected an int or a list/tuple of ints",
    ),
]


@pytest.mark.parametrize(
    ("name", "arguments", "shape", "error", "words"), MESSAGES
)
def test_messages_contain_the_words_of_keras(
    name, arguments, shape, error, words
):
    for cls in (keras_class(name), our_class(name)):
        with pytest.raises(error) as raised:
            layer = cls(**arguments)
            layer.build(shape)
        assert words in str(raised.value), cls


@pytest.mark.parametrize("name", ["BatchNormalization", "GroupNormalization"])
def test_other_channels_than_those_built_for_are_refused(name):
    arguments = {"groups": 2} if name == "GroupNormalization" else {}
    for cls in (keras_class(name), our_class(name)):
        layer = cls(**arguments)
        layer.build((None, 5, 8))
        with pytest.raises(ValueError, match="incompatible"):
            layer(data((6, 5, 4)))
