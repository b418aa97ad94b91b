"""Which kernels are chosen, and how they are read."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

# Of paths, layers and shapes; training on all backends is in test_fitting.
pytestmark = pytest.mark.once

rng = np.random.default_rng(4)


def network():
    return keras.Sequential(
        [
            keras.Input((6, 6)),
            layers.Conv1D(8, 3, groups=2, name="convolution"),
            layers.GRU(5, name="recurrent"),
            layers.Dense(4, name="dense"),
            layers.Dense(9, name="wide"),
        ]
    )


def matrices(kernel):
    """Matrices (fan-in, outputs) of a kernel, from the layer's arithmetic."""
    name = kernel.path.split("/", 1)[-1]
    w = np.array(keras.ops.convert_to_numpy(kernel), "float64")
    parts = {
        "convolution/kernel": 2,
        "recurrent/gru_cell/kernel": 3,
        "recurrent/gru_cell/recurrent_kernel": 3,
    }.get(name, 1)
    w = w.reshape(-1, w.shape[-1])
    return name, np.split(w, parts, axis=1)


def deviations(model):
    """{kernel: largest entry of |X^T X - I| of its matrices}."""
    return {
        name: max(np.abs(m.T @ m - np.eye(m.shape[1])).max() for m in parts)
        for name, parts in map(matrices, model.trainable_variables)
        if "bias" not in name
    }


def on_manifold(model):
    return {name for name, wrong in deviations(model).items() if wrong <= 1e-5}


ALL = {
    "convolution/kernel",
    "recurrent/gru_cell/kernel",
    "recurrent/gru_cell/recurrent_kernel",
    "dense/kernel",
}
WHERE = {
    "layers": (lambda m: m.layers[:3], ALL),
    "one layer": (lambda m: m.layers[2], {"dense/kernel"}),
    "names": (
        lambda m: ["dense", "gru_cell/recurrent_kernel"],
        {"dense/kernel", "recurrent/gru_cell/recurrent_kernel"},
    ),
    "a function": (
        lambda m: lambda variable: variable.path.endswith("dense/kernel"),
        {"dense/kernel"},
    ),
}


@pytest.mark.parametrize("kind", list(WHERE))
def test_where(kind):
    model = network()
    where, expected = WHERE[kind]
    optimizer = kn.optimizers.Riemannian(
        keras.optimizers.SGD(0.1), where=where(model)
    )
    assert not on_manifold(model)
    optimizer.build(model.trainable_variables)
    assert on_manifold(model) == expected
    if kind != "layers":
        return
    gradients = [
        keras.ops.convert_to_tensor(rng.normal(size=v.shape).astype("float32"))
        for v in model.trainable_variables
    ]
    optimizer.apply(gradients, model.trainable_variables)
    assert on_manifold(model) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: kn.optimizers.Riemannian("sgd"),
        lambda: kn.optimizers.CayleySGD(0.1),
        lambda: kn.optimizers.CayleyAdam(0.1),
    ],
)
def test_all_that_can_without_where(make):
    model = network()
    make().build(model.trainable_variables)
    found = on_manifold(model)
    # By the name alone kernel and gates of the recurrent layer, (8, 15), are
    # one matrix, and too wide; of (9, 8) groups are not known, but the columns
    # of both of them together are orthonormal.
    assert found == ALL - {"recurrent/gru_cell/kernel"}


def test_a_model_with_all_its_layers():
    model = keras.Sequential([keras.Input((4, 4, 6)), layers.Conv2D(3, 2)])
    outer = keras.Sequential(
        [
            keras.Input((4, 4, 6)),
            layers.DepthwiseConv2D(2, depth_multiplier=2, name="depthwise"),
            layers.Conv2DTranspose(4, 2, name="transposed"),
        ]
    )
    optimizer = kn.optimizers.Riemannian("sgd", where=[model, outer])
    every = model.trainable_variables + outer.trainable_variables
    optimizer.build(every)
    (ordinary, depthwise, transposed) = (
        np.array(keras.ops.convert_to_numpy(v), "float64")
        for v in every
        if v.path.endswith("kernel")
    )
    m = ordinary.reshape(-1, 3)
    assert np.abs(m.T @ m - np.eye(3)).max() <= 1e-5
    for channel in range(6):
        m = depthwise[:, :, channel].reshape(-1, 2)
        assert np.abs(m.T @ m - np.eye(2)).max() <= 1e-5
    m = np.moveaxis(transposed, -2, -1).reshape(-1, 4)
    assert np.abs(m.T @ m - np.eye(4)).max() <= 1e-5


def test_axis():
    w = keras.Variable(rng.normal(size=(3, 7)).astype("float32"), name="kernel")
    kn.optimizers.Riemannian("sgd", "oblique", axis=0).build([w])
    w = keras.ops.convert_to_numpy(w)
    assert np.abs(np.linalg.norm(w, axis=1) - 1).max() <= 1e-6


def test_embeddings_are_vectors_of_tokens():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Embedding(9, 5, name="tokens")]
    )
    optimizer = kn.optimizers.Riemannian("sgd", "oblique", where="tokens")
    optimizer.build(model.trainable_variables)
    w = keras.ops.convert_to_numpy(model.layers[0].embeddings)
    assert np.abs(np.linalg.norm(w, axis=1) - 1).max() <= 1e-6


@pytest.mark.parametrize("kind", ["layers", "one layer", "names"])
def test_config_is_data_and_does_not_change(kind):
    model = network()
    optimizer = kn.optimizers.Riemannian(
        keras.optimizers.Adam(0.1),
        "grassmann",
        "polar",
        WHERE[kind][0](model),
        dimension=2 if kind == "one layer" else 1,
    )
    before = keras.saving.serialize_keras_object(optimizer)
    optimizer.build(model.trainable_variables)
    config = keras.saving.serialize_keras_object(optimizer)
    # But for which of the optimizer's variables layers have.
    for entry in config["config"]["where"]:
        if isinstance(entry, dict):
            entry_before = before["config"]["where"].pop(0)
            assert entry_before["index"] is None
            before["config"]["where"].append({**entry_before, **entry})
    assert config == before
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(config))
    )
    assert keras.saving.serialize_keras_object(again) == config
    # Of another model of the same layers.
    other = network()
    again.build(other.trainable_variables)
    for a, b in zip(
        optimizer._choice.readings.values(),
        again._choice.readings.values(),
        strict=True,
    ):
        assert a.shape == b.shape


def test_layers_of_the_same_name_are_told_apart_after_loading(tmp_path):
    def part():
        return keras.Sequential(
            [keras.Input((6,)), layers.Dense(6, name="dense")]
        )

    first, second = part(), part()
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(second(first(inputs))))
    model.compile(kn.optimizers.Riemannian("sgd", where=second), "mse")
    x = rng.normal(size=(8, 6)).astype("float32")
    model.fit(x, x[:, :3], verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.fit(x, x[:, :3], verbose=0)
    indices = [set(m.optimizer._choice.readings) for m in (model, again)]
    # The second of three kernels, each with a bias.
    assert indices == [{2}, {2}]


def test_what_a_saved_choice_does_not_name_is_refused():
    model = network()
    where = WHERE["one layer"][0](model)
    optimizer = kn.optimizers.Riemannian("sgd", where=where)
    again = kn.optimizers.Riemannian.from_config(optimizer.get_config())
    other = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="z")])
    with pytest.raises(ValueError, match="must choose one variable"):
        again.build(other.trainable_variables)


def test_heads_and_depthwise_kernels_are_chosen_by_demand_only():
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.DepthwiseConv1D(3),
            layers.Dense(3),
            layers.Dense(1),
        ]
    )
    optimizer = kn.optimizers.Riemannian("sgd")
    optimizer.build(model.trainable_variables)
    found = [r.kernel.path for r in optimizer._choice.readings.values()]
    assert found == [model.layers[1].kernel.path]


@pytest.mark.parametrize("cls", ["CayleySGD", "CayleyAdam"])
def test_config_of_cayley(cls):
    optimizer = getattr(kn.optimizers, cls)(
        keras.optimizers.schedules.CosineDecay(0.1, 10),
        where="dense",
        stiefel_factor=4.0,
        cayley_steps=3,
        q=0.4,
        reorthogonalize_every=None,
        polish=False,
        weight_decay=0.1,
    )
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(
        json.loads(json.dumps(config))
    )
    assert keras.saving.serialize_keras_object(again) == config
    assert again.stiefel_factor == 4.0 and again.cayley_steps == 3


@keras.saving.register_keras_serializable("tests")
def of_dense(variable):
    return variable.path.endswith("dense/kernel")


def test_config_of_a_registered_function():
    optimizer = kn.optimizers.Riemannian("sgd", where=of_dense)
    config = json.loads(
        json.dumps(keras.saving.serialize_keras_object(optimizer))
    )
    model = network()
    keras.saving.deserialize_keras_object(config).build(
        model.trainable_variables
    )
    assert on_manifold(model) == {"dense/kernel"}


def variable(*shape, name="kernel", constraint=None):
    v = keras.Variable(rng.normal(size=shape).astype("float32"), name=name)
    v.constraint = constraint
    return v


@pytest.mark.parametrize(
    "options, variables, words",
    [
        (
            {"where": "kernel"},
            lambda: [variable(3, 4)],
            "more output neurons .* Leave it out of `where`",
        ),
        ({}, lambda: [variable(3, 4)], "outputs=4, fan_in=3"),
        (
            {"where": "bias"},
            lambda: [variable(4, 3), variable(3, name="bias")],
            "'bias' must have no more output neurons",
        ),
        (
            {"manifold": "oblique"},
            lambda: [variable(1, 4)],
            "at least two weights",
        ),
        (
            {"manifold": "grassmann", "dimension": 2},
            lambda: [variable(5, 3)],
            "a multiple of 2",
        ),
        ({}, lambda: [variable(3, name="bias")], "at least one of the opt"),
        (
            {"where": "kernels"},
            lambda: [variable(4, 3)],
            "Did you mean 'kernel'",
        ),
        (
            {"where": lambda v: False},
            lambda: [variable(4, 3)],
            "at least one of the opt",
        ),
        (
            {},
            lambda: [variable(4, 3, constraint=keras.constraints.NonNeg())],
            "must have no constraint",
        ),
        (
            {"where": layers.Dense(3)},
            lambda: [variable(4, 3)],
            "must be built",
        ),
    ],
)
def test_kernels_that_cannot_be_on_the_manifold(options, variables, words):
    optimizer = kn.optimizers.Riemannian("sgd", **options)
    with pytest.raises(ValueError, match=words):
        optimizer.build(variables())
    assert not optimizer.built


@pytest.mark.parametrize(
    "make, words",
    [
        (
            lambda: kn.optimizers.Riemannian("sgd", "sphere"),
            "`manifold` must be one of",
        ),
        (
            lambda: kn.optimizers.Riemannian("sgd", "oblique", "qr"),
            "`retraction` must be one of .'normalize'",
        ),
        (
            lambda: kn.optimizers.Riemannian("sgd", dimension=2),
            "`dimension` is of",
        ),
        (
            lambda: kn.optimizers.Riemannian("sgd", where=[]),
            "`where` must be a name",
        ),
        (
            lambda: kn.optimizers.Riemannian(
                keras.optimizers.SGD(
                    0.1, use_ema=True, ema_overwrite_frequency=3
                )
            ),
            "`ema_overwrite_frequency` must be None",
        ),
        (lambda: kn.optimizers.CayleySGD(0.1, q=1.0), "`q` must be less"),
        (lambda: kn.optimizers.CayleySGD(0.1, nesterov=True), "`nesterov`"),
        (lambda: kn.optimizers.CayleyAdam(0.1, amsgrad=True), "`amsgrad`"),
        (
            lambda: kn.optimizers.CayleyAdam(0.1, cayley_steps=0),
            "`cayley_steps` must be an integer",
        ),
        (
            lambda: kn.optimizers.CayleyAdam(0.1, stiefel_factor=0),
            "`stiefel_factor` must be positive",
        ),
    ],
)
def test_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
