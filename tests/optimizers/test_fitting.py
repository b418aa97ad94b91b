"""Training with optimizers on manifolds: compiled, saved, resumed."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

BACKEND = keras.backend.backend()
# Where compiling takes seconds. JAX compiles all tests, as by default.
COMPILED = BACKEND != "torch"

rng = np.random.default_rng(5)
STEPS = 97
X = rng.normal(size=(4 * STEPS, 6)).astype("float32")
Y = rng.normal(size=(4 * STEPS, 3)).astype("float32")


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


def riemannian(*arguments, rate=0.1, **options):
    return kn.optimizers.Riemannian(
        keras.optimizers.SGD(rate, 0.9), *arguments, **options
    )


FAMILIES = {
    "stiefel-qr": lambda: riemannian("stiefel", "qr"),
    "stiefel-polar": lambda: riemannian("stiefel", "polar"),
    "oblique": lambda: riemannian("oblique"),
    "grassmann": lambda: riemannian("grassmann"),
    "cayley-sgd": lambda: kn.optimizers.CayleySGD(0.1, 0.9),
    "cayley-adam": lambda: kn.optimizers.CayleyAdam(0.01, stiefel_factor=20),
}

# One of each optimizer in every run; PyTorch takes up to 10 ms for a step.
LONG = ("stiefel-polar", "oblique", "grassmann")


def deviation(model, neurons=False):
    """Largest entry of |X^T X - I| of both kernels, or of its diagonals."""
    found = []
    for layer in model.layers:
        x = np.array(keras.ops.convert_to_numpy(layer.kernel), "float64")
        wrong = np.abs(x.T @ x - np.eye(x.shape[1]))
        found.append(np.diag(wrong).max() if neurons else wrong.max())
    return max(found)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(f, marks=pytest.mark.all) if f in LONG else f
        for f in FAMILIES
    ],
)
def test_orthonormal_over_a_thousand_steps(family):
    # One kernel: PyTorch takes milliseconds for each.
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    model.compile(FAMILIES[family](), "mse")
    neurons = family in ("oblique", "grassmann")
    found = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: found.append(deviation(model, neurons))
    )
    # What an orthonormal kernel can give.
    y = X @ np.linalg.qr(rng.normal(size=(6, 3)))[0].astype("float32")
    before = model.evaluate(X, y, verbose=0)
    model.fit(X, y, 4, epochs=11, verbose=0, callbacks=[watch])
    assert model.optimizer.iterations == 11 * STEPS
    assert len(found) == 11 and max(found) <= 1e-5
    assert model.evaluate(X, y, verbose=0) < 0.5 * before


def schedule():
    return keras.optimizers.schedules.CosineDecay(0.1, 8)


OPTIONS = {
    "sgd": lambda: riemannian(),
    "adam, scheduled, clipped": lambda: kn.optimizers.Riemannian(
        keras.optimizers.Adam(schedule(), clipnorm=0.1, weight_decay=0.01),
        "oblique",
    ),
    "accumulated": lambda: kn.optimizers.Riemannian(
        keras.optimizers.AdamW(0.01, gradient_accumulation_steps=2),
        "grassmann",
    ),
    "cayley-sgd": lambda: kn.optimizers.CayleySGD(
        schedule(), 0.9, gradient_accumulation_steps=2, weight_decay=0.01
    ),
    "cayley-adam": lambda: kn.optimizers.CayleyAdam(0.1, clipvalue=0.1),
}


def fitted(model, epochs):
    history = model.fit(
        X[:32], Y[:32], 4, epochs=epochs, shuffle=False, verbose=0
    )
    return history.history["loss"]


@pytest.mark.parametrize("kind", list(OPTIONS))
def test_resumed_training_gives_equal_losses(kind, tmp_path):
    model = network()
    model.compile(OPTIONS[kind](), "mse")
    first = fitted(model, 1)
    model.save(tmp_path / "model.keras")
    second = fitted(model, 1)
    assert second[0] != first[0]
    model = keras.models.load_model(tmp_path / "model.keras")
    # The same numbers: nothing is lost, and no kernel is moved by loading.
    assert fitted(model, 1) == second
    assert deviation(model, neurons=True) <= 1e-5


SHORT = ("sgd", "cayley-adam")


@pytest.mark.compile
@pytest.mark.parametrize(
    "kind",
    [
        kind
        if COMPILED and kind in SHORT
        else pytest.param(kind, marks=pytest.mark.all)
        for kind in OPTIONS
        # A minute or two for each on PyTorch.
        if COMPILED or kind in SHORT
    ],
)
def test_compiled_and_eager_agree(kind):
    plain, model = network(), network()
    plain.compile(OPTIONS[kind](), "mse", jit_compile=False)
    plain.run_eagerly = BACKEND == "tensorflow"
    # Before the first gradient: run eagerly, TensorFlow builds after it.
    plain.optimizer.build(plain.trainable_variables)
    model.compile(OPTIONS[kind](), "mse", jit_compile=True)
    # Eight steps in float32.
    assert np.allclose(fitted(model, 1), fitted(plain, 1), rtol=1e-5)


@pytest.mark.parametrize(
    "policy, make",
    [
        ("mixed_float16", riemannian),
        ("mixed_bfloat16", FAMILIES["cayley-adam"]),
    ],
)
def test_mixed_precision(policy, make):
    keras.config.set_dtype_policy(policy)
    model = network()
    model.compile(make(), "mse")
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    first, last = fitted(model, 2)
    assert last < first
    assert deviation(model) <= 1e-5


def test_resumed_with_another_scaling_outside(tmp_path):
    optimizer = keras.optimizers.LossScaleOptimizer(riemannian())
    model = network()
    model.compile(optimizer, "mse")
    fitted(model, 1)
    model.save(tmp_path / "model.keras")
    second = fitted(model, 1)
    model = keras.models.load_model(tmp_path / "model.keras")
    assert fitted(model, 1) == second
