"""Training with transforms and trust ratios: compiled, saved, resumed."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

BACKEND = keras.backend.backend()
# Where compiling takes seconds. JAX compiles all tests, as by default.
COMPILED = BACKEND != "torch"

rng = np.random.default_rng(14)
X = rng.normal(size=(32, 6)).astype("float32")
Y = rng.normal(size=(32, 3)).astype("float32")
TOKENS = rng.integers(0, 7, (32, 4))


def network():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, activation="tanh", name="hidden"),
            layers.Dense(3, name="outputs"),
        ]
    )
    for seed, w in enumerate(model.trainable_variables):
        values = np.random.default_rng(seed).normal(size=w.shape)
        w.assign(values.astype("float32"))
    return model


def schedule():
    return keras.optimizers.schedules.CosineDecay(0.1, 16)


def transformed(inner, *arguments, **options):
    chain = [kn.optimizers.centralize(), kn.optimizers.adaptive_clip(0.1)]
    return kn.optimizers.GradientTransform(inner, chain, *arguments, **options)


def blocks(inner, name="layer"):
    rule = kn.optimizers.block_normalize(name, 0.1)
    return kn.optimizers.GradientTransform(inner, rule)


OPTIONS = {
    "sgd, accumulated": lambda model: transformed(
        keras.optimizers.SGD(0.1, 0.9, gradient_accumulation_steps=2),
        where=model,
    ),
    "adam, scheduled, clipped": lambda model: transformed(
        keras.optimizers.Adam(schedule(), clipnorm=1.0, weight_decay=0.01),
        "update",
        l2=0.01,
    ),
    "layers": lambda model: blocks(keras.optimizers.SGD(0.5, 0.9)),
    "lars": lambda model: kn.optimizers.LARS(
        schedule(),
        l2=0.01,
        trust_coefficient=1.0,
        gradient_accumulation_steps=2,
    ),
    "lamb": lambda model: kn.optimizers.LAMB(
        0.05, decay=0.01, global_clipnorm=1.0, exclude_from_decay="hidden"
    ),
    "wngrad": lambda model: kn.optimizers.WNGrad(gradient_accumulation_steps=2),
}


def fitted(model, epochs=1, x=X):
    history = model.fit(x, Y, 4, epochs=epochs, shuffle=False, verbose=0)
    return history.history["loss"]


# The others have no other kinds of state.
LONG = ("lars", "wngrad")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.all) if kind in LONG else kind
        for kind in OPTIONS
    ],
)
def test_resumed_training_gives_equal_losses(kind, tmp_path):
    model = network()
    model.compile(OPTIONS[kind](model), "mse")
    first = fitted(model)
    model.save(tmp_path / "model.keras")
    second = fitted(model)
    assert second[0] < first[0]
    model = keras.models.load_model(tmp_path / "model.keras")
    # The same numbers: nothing is lost.
    assert fitted(model) == second


SHORT = ("layers", "lamb")


@pytest.mark.compile
@pytest.mark.parametrize(
    "kind",
    [
        kind
        if COMPILED and kind in SHORT
        else pytest.param(kind, marks=pytest.mark.all)
        for kind in OPTIONS
        # Half a minute for each on PyTorch.
        if COMPILED or kind in SHORT
    ],
)
def test_compiled_and_eager_agree(kind):
    plain, model = network(), network()
    plain.compile(OPTIONS[kind](plain), "mse", jit_compile=False)
    plain.run_eagerly = BACKEND == "tensorflow"
    model.compile(OPTIONS[kind](model), "mse", jit_compile=True)
    # Eight steps in float32.
    assert np.allclose(fitted(model), fitted(plain), rtol=1e-5)


def test_scaled_losses():
    """A constant scale outside or inside changes nothing."""
    found = []
    for place in ("nowhere", "inside", "outside"):
        inner = keras.optimizers.SGD(0.1, 0.9)
        scaling = keras.optimizers.LossScaleOptimizer
        if place == "inside":
            inner = scaling(inner, initial_scale=8.0)
        optimizer = transformed(inner)
        if place == "outside":
            optimizer = scaling(optimizer, initial_scale=8.0)
        model = network()
        model.compile(optimizer, "mse")
        found.append(fitted(model))
    assert np.allclose(found[0], found[1], rtol=1e-5)
    assert np.allclose(found[0], found[2], rtol=1e-5)


@pytest.mark.parametrize(
    "policy, kind",
    [
        pytest.param("mixed_float16", "lamb", marks=pytest.mark.all),
        ("mixed_float16", "layers"),
        ("mixed_bfloat16", "lars"),
    ],
)
def test_mixed_precision(policy, kind):
    keras.config.set_dtype_policy(policy)
    model = network()
    model.compile(OPTIONS[kind](model), "mse")
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    first, last = fitted(model, 2)
    assert last < first


def test_half_weights():
    keras.config.set_dtype_policy("bfloat16")
    model = network()
    model.compile(OPTIONS["lars"](model), "mse")
    assert np.all(np.isfinite(fitted(model)))
    assert {v.dtype for v in model.trainable_variables} == {"bfloat16"}


def test_accumulated_gradients_are_transformed_once():
    """Not one part of a batch at a time: norms are not linear."""

    def weights(steps, x, y, batch):
        optimizer = blocks(
            keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps),
            "variable",
        )
        model = network()
        model.compile(optimizer, "mse")
        model.fit(x, y, batch, shuffle=False, verbose=0)
        return model.get_weights()

    parts = weights(2, X[:16], Y[:16], 8)
    whole = weights(None, X[:16], Y[:16], 16)
    for a, b in zip(parts, whole, strict=True):
        assert np.abs(a - b).max() <= 1e-6


SPARSE = {
    "clip": lambda: transformed(keras.optimizers.SGD(0.1), l2=0.1),
    "update": lambda: transformed(keras.optimizers.SGD(0.1), "update"),
    "layer": lambda: blocks(keras.optimizers.SGD(0.1)),
    "lars": lambda: kn.optimizers.LARS(0.1, trust_coefficient=1.0),
    "lamb": lambda: kn.optimizers.LAMB(0.1),
    "wngrad": lambda: kn.optimizers.WNGrad(),
    "wngrad, variables": lambda: kn.optimizers.WNGrad(blocks="variable"),
    "riemannian": lambda: kn.optimizers.Riemannian("sgd", where="kernel"),
    "oblique": lambda: kn.optimizers.Riemannian(
        keras.optimizers.SGD(0.1), "oblique", where="embeddings"
    ),
}


@pytest.mark.parametrize("kind", list(SPARSE))
def test_sparse_gradients_are_what_dense_ones_are(kind):
    """TensorFlow's of embeddings; tokens come several times, or not at all."""
    found = []
    for dense in (False, True):
        with keras.name_scope("tokens"):
            w = keras.Variable(np.ones((5, 3), "float32"), name="embeddings")
        kernel = keras.Variable(np.eye(3, dtype="float32"), name="kernel")
        optimizer = SPARSE[kind]()
        optimizer.build([w, kernel])
        rows = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
        ids = np.array([0, 2, 2, 4])
        full = np.zeros((5, 3), "float32")
        np.add.at(full, ids, rows)
        gradient = keras.ops.convert_to_tensor(full)
        if not dense and BACKEND == "tensorflow":
            import tensorflow as tf

            gradient = tf.IndexedSlices(rows, ids, tf.constant([5, 3]))
        optimizer.apply([gradient, kernel * 0.1], [w, kernel])
        found.append(np.array(keras.ops.convert_to_numpy(w)))
    assert np.abs(found[0] - found[1]).max() <= 1e-6
    assert kind == "riemannian" or np.abs(found[0] - 1).max() > 1e-3


def test_embeddings_in_training():
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            layers.Embedding(14, 4),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    model.compile(SPARSE["clip"](), "mse")
    first, last = fitted(model, 2, TOKENS)
    assert last < first
