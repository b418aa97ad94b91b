"""Penalties of kernels: values and gradients against the formulas."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from constraints import formulas
from functions import Primitive
from functions import differences
from gradients import gradients

# PyTorch compiles a training step in half a minute; its compiler looks at the
# gradients of tensors that have none, and warns of itself.
COMPILED = [pytest.mark.compile]
if keras.backend.backend() == "torch":
    COMPILED += [
        pytest.mark.all,
        pytest.mark.filterwarnings("ignore:The .grad attribute"),
    ]

FACTOR = 0.5
FLOAT64 = keras.backend.backend() == "tensorflow"
DTYPES = ["float32", "float64"][: 1 + FLOAT64]


def off(m):
    return m @ m.T - np.eye(len(m))


def soft(m):
    return np.sum(off(m) ** 2)


def double_soft(m):
    return soft(m) + soft(m.T)


def coherence(m):
    return np.abs(off(m)).max()


def isometry(m):
    return np.linalg.norm(off(m if m.shape[0] <= m.shape[1] else m.T), 2)


def off_diagonal(m):
    s = m @ m.T
    return np.sum(s**2) - np.sum(np.diag(s) ** 2)


r = kn.regularizers
# name: (regularizer of factor and `axis`, formula on a matrix)
PENALTIES = {
    "soft": (r.SoftOrthogonal, soft),
    "double": (
        lambda *a, **k: r.SoftOrthogonal(*a, double=True, **k),
        double_soft,
    ),
    "coherence": (r.MutualCoherence, coherence),
    # So many iterations that the vectors have settled.
    "isometry": (
        lambda *a, **k: r.SpectralRestrictedIsometry(
            *a, power_iterations=60, **k
        ),
        isometry,
    ),
    "isometry of rows, squared": (
        lambda *a, **k: r.SpectralRestrictedIsometry(
            *a, power_iterations=60, gram="rows", squared=True, **k
        ),
        lambda m: np.linalg.norm(off(m), 2) ** 2,
    ),
    "isometry of columns": (
        lambda *a, **k: r.SpectralRestrictedIsometry(
            *a, power_iterations=60, gram="columns", **k
        ),
        lambda m: np.linalg.norm(off(m.T), 2),
    ),
    "off diagonal": (r.OffDiagonalOrthogonal, off_diagonal),
}


def value(penalty, w, dtype="float32"):
    found = penalty(keras.Variable(w, dtype=dtype))
    assert tuple(found.shape) == ()
    return float(keras.ops.convert_to_numpy(found))


def slope(penalty, w, dtype="float32"):
    found = gradients(Primitive(penalty), [[w]], np.ones(()), dtype=dtype)
    return found.inputs[0][0].astype("float64")


def allowed(dtype, m, scale):
    """Rounding of two products, relative to the largest of their terms."""
    return 20 * np.finfo(dtype).eps * np.sqrt(m.shape[1]) * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", formulas.KERNELS)
@pytest.mark.parametrize("name", PENALTIES)
def test_formula(name, kind, dtype):
    make, formula = PENALTIES[name]
    w, axis, axes = formulas.kernel(kind)
    w = (0.8 * w).astype("float32").astype("float64")
    m = formulas.matrix(w, axes)

    def of_kernel(w):
        return FACTOR * formula(formulas.matrix(w, axes))

    penalty = make(FACTOR, axis=axis)
    wanted = of_kernel(w)
    found = value(penalty, w, dtype)
    error = allowed(dtype, m, wanted)
    # So far the iteration gets where the spectrum has small gaps.
    error += 1e-8 * wanted if "isometry" in name else 0
    assert abs(found - wanted) <= error
    (wanted,) = differences(of_kernel, [w], 1.0)
    # Central differences round to 1e-16 of the value over a step of 1e-5 or
    # more, and the slope is of the value's size.
    largest = np.abs(wanted).max()
    error = allowed(dtype, m, largest) + 1e-8 * largest
    if "isometry" in name:
        # The vectors of the value's iteration are off by the root of that.
        error = 2e-4 * np.abs(wanted).max()
    assert np.abs(slope(penalty, w, dtype) - wanted).max() <= error


@pytest.mark.parametrize("kind", ["dense", "more_outputs", "depthwise"])
def test_gradient_of_soft_orthogonality(kind):
    w, axis, axes = formulas.kernel(kind)
    m = formulas.matrix(w, axes)
    wanted = formulas.of_matrix(4 * FACTOR * off(m) @ m, w.shape, axes)
    found = slope(r.SoftOrthogonal(FACTOR, axis=axis), w)
    assert np.abs(found - wanted).max() <= 2e-6 * np.abs(wanted).max()
    # Of the double one: W W^T W is W (W^T W).
    found = slope(r.SoftOrthogonal(FACTOR, double=True, axis=axis), w)
    assert np.abs(found - 2 * wanted).max() <= 4e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_power_iteration_in_steps(iterations, squared):
    w = 0.5 * formulas.kernel("dense")[0]
    m = w.T
    s = off(m)
    penalty = r.SpectralRestrictedIsometry(FACTOR, iterations, squared=squared)
    u = penalty.start(5, "float32")
    u = keras.ops.convert_to_numpy(u).astype("float64")
    for _ in range(iterations):
        v = s @ u / np.linalg.norm(s @ u)
        u = s @ v / np.linalg.norm(s @ v)
    sigma = u @ s @ v
    assert sigma < np.linalg.norm(s, 2)
    wanted = FACTOR * (sigma**2 if squared else sigma)
    assert abs(value(penalty, w) / wanted - 1) <= 1e-5
    # u and v are constants.
    wanted = FACTOR * ((np.outer(u, v) + np.outer(v, u)) @ m).T
    wanted *= 2 * sigma if squared else 1
    assert np.abs(slope(penalty, w) - wanted).max() <= 1e-5


def test_start_vectors():
    starts = [
        keras.ops.convert_to_numpy(
            r.SpectralRestrictedIsometry(seed=seed).start(500, "float32")
        )
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(*starts[:2])
    index = np.arange(1, 501, dtype="float32")
    for seed, start in ((0, starts[0]), (1, starts[2])):
        # The angles are large: rounded as in float32.
        angle = np.float32(2.399963) * index * (index + np.float32(seed))
        wanted = np.cos(angle.astype("float64"))
        assert np.abs(start - wanted).max() <= 1e-5
    cosine = starts[0] @ starts[2]
    assert abs(cosine) <= 0.2 * np.linalg.norm(starts[0]) ** 2

    class FromTheFirst(r.SpectralRestrictedIsometry):
        def start(self, size, dtype):
            return keras.ops.cast(keras.ops.arange(size) < 1, dtype)

    # An eigenvector: iterations stay there.
    w = np.diag([1.5, 3.0])
    assert value(FromTheFirst(1.0), w) == pytest.approx(1.25, rel=1e-6)


@pytest.mark.parametrize("shape", [(5, 5), (8, 5), (5, 8)])
def test_orthonormal_kernels(shape):
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.normal(size=(8, 8)))[0][: shape[0], : shape[1]]
    u, _, v = np.linalg.svd(w, full_matrices=False)
    w = u @ v
    fan_in, outputs = shape
    lacking = max(outputs - fan_in, 0)
    assert abs(value(r.SoftOrthogonal(1.0), w) - lacking) <= 1e-5
    found = value(r.SoftOrthogonal(1.0, double=True), w)
    assert abs(found - abs(fan_in - outputs)) <= 1e-5
    found = value(r.SpectralRestrictedIsometry(1.0), w)
    assert abs(found) <= 1e-5
    if not lacking:
        assert value(r.MutualCoherence(1.0), w) <= 1e-5
        # Of any lengths.
        w = w * np.linspace(0.5, 2.0, outputs)
        assert value(r.OffDiagonalOrthogonal(1.0), w) <= 1e-5
    for make, _ in PENALTIES.values():
        assert np.isfinite(slope(make(1.0), w)).all()


@pytest.mark.parametrize("seed", range(5))
def test_order_of_the_penalties(seed):
    w = 0.4 * formulas.kernel("dense", seed)[0]
    largest_entry = value(r.MutualCoherence(1.0), w)
    spectral = value(r.SpectralRestrictedIsometry(1.0, power_iterations=60), w)
    frobenius = np.sqrt(value(r.SoftOrthogonal(1.0), w))
    assert largest_entry <= spectral * (1 + 1e-4)
    assert spectral <= frobenius * (1 + 1e-6)
    few = [
        value(r.SpectralRestrictedIsometry(1.0, n), w) for n in (1, 2, 5, 20)
    ]
    assert (np.diff([*few, spectral]) >= -1e-6).all()


@pytest.mark.parametrize("name", PENALTIES)
def test_zeros_and_biases(name):
    penalty = PENALTIES[name][0](FACTOR)
    assert np.isfinite(value(penalty, np.zeros((4, 3))))
    assert np.isfinite(slope(penalty, np.zeros((4, 3)))).all()
    for bias in (np.arange(4.0), np.float64(3.0), np.ones((1, 4))[0]):
        assert value(penalty, bias) == 0.0
    assert not slope(penalty, np.arange(4.0)).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", PENALTIES)
def test_half_precision_is_computed_in_float32(name, dtype):
    w = 0.5 * formulas.kernel("convolution")[0]
    half = keras.ops.convert_to_tensor(w, dtype)
    full = keras.ops.cast(half, "float32")
    penalty = PENALTIES[name][0](FACTOR)
    found, wanted = (
        float(keras.ops.convert_to_numpy(penalty(t))) for t in (half, full)
    )
    assert found == wanted


TRAINED = {
    "soft": r.SoftOrthogonal(FACTOR),
    "double": r.SoftOrthogonal(FACTOR, double=True),
    "coherence": r.MutualCoherence(FACTOR),
    "isometry": r.SpectralRestrictedIsometry(FACTOR),
    "isometry, squared": r.SpectralRestrictedIsometry(
        FACTOR, gram="columns", squared=True
    ),
    "off diagonal": r.OffDiagonalOrthogonal(FACTOR),
}


def model_of(regularizer, jit=False):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(
                4, kernel_regularizer=regularizer, bias_regularizer=regularizer
            ),
        ]
    )
    kernel = np.random.default_rng(0).normal(0, 0.7, (6, 4))
    model.layers[0].kernel.assign(kernel)
    model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=jit)
    return model


X, Y = np.zeros((8, 6), "float32"), np.zeros((8, 4), "float32")


@pytest.mark.parametrize(
    "jit",
    [
        pytest.param(False, id="plain"),
        pytest.param(True, id="jit", marks=COMPILED),
    ],
)
@pytest.mark.parametrize("name", TRAINED)
def test_in_fit_and_saved(name, jit, tmp_path):
    penalty = TRAINED[name]
    model = model_of(penalty, jit)

    def fit(epochs):
        history = model.fit(X, Y, batch_size=8, epochs=epochs, verbose=0)
        return history.history["loss"]

    def by_hand():
        kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
        return value(penalty, np.array(kernel))

    before = by_hand()
    losses = fit(2)
    assert abs(losses[0] / before - 1) <= 1e-4
    assert losses[1] < losses[0]
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    found = model.layers[0].kernel_regularizer
    assert found.get_config() == penalty.get_config()
    before = by_hand()
    assert abs(fit(1)[0] / before - 1) <= 1e-4


def test_soft_orthogonality_makes_orthonormal():
    model = model_of(r.SoftOrthogonal(1.0))
    model.fit(X, Y, batch_size=8, epochs=100, verbose=0)
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    assert np.abs(off(kernel.T)).max() <= 1e-4


class Scheduled(layers.Dense):
    """A dense layer that owns the factor of its penalty."""

    def build(self, input_shape):
        self.factor = self.add_weight(
            shape=(), initializer="ones", trainable=False, name="factor"
        )
        self.kernel_regularizer = r.SoftOrthogonal(self.factor)
        super().build(input_shape)


@pytest.mark.parametrize(
    "jit",
    [
        pytest.param(False, id="plain"),
        pytest.param(True, id="jit", marks=COMPILED),
    ],
)
def test_a_factor_that_changes_during_training(jit):
    layer = Scheduled(4)
    model = keras.Sequential([keras.Input((6,)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit)
    factors = [1.0, 0.5, 0.0]

    def assign(epoch, logs=None):
        layer.factor.assign(factors[epoch])

    history = model.fit(
        X,
        Y,
        batch_size=4,
        epochs=3,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=assign)],
    )
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    wanted = soft(kernel.T) * np.array(factors)
    losses = np.array(history.history["loss"])
    assert np.abs(losses - wanted).max() <= 1e-5 * wanted[0]
    layer.factor.assign(0.25)
    assert layer.kernel_regularizer.get_config()["factor"] == 0.25


CONFIGS = [
    r.SoftOrthogonal(0.1, True, "embedding"),
    r.MutualCoherence(0.2, axis=(-2, -1)),
    r.SpectralRestrictedIsometry(0.3, 5, "rows", True, 7, 0),
    r.OffDiagonalOrthogonal(1e-4, "depthwise_convolution"),
    r.Decorrelation(0.4, 1, False),
]


@pytest.mark.once
@pytest.mark.parametrize("penalty", CONFIGS, ids=lambda p: type(p).__name__)
def test_config(penalty):
    config = json.loads(json.dumps(keras.regularizers.serialize(penalty)))
    assert config["registered_name"].startswith("keras_norm>")
    found = keras.regularizers.get(config)
    assert type(found) is type(penalty)
    assert found.get_config() == penalty.get_config()
    plain = type(penalty)().get_config()
    assert plain.keys() == found.get_config().keys()
    for name in plain:
        assert plain[name] != found.get_config()[name], name
    copy = type(penalty).from_config(penalty.get_config())
    assert copy.get_config() == penalty.get_config()


@pytest.mark.once
@pytest.mark.parametrize("factor", [-1.0, np.nan, np.inf, "0.1", None, True])
@pytest.mark.parametrize("name", kn.regularizers.__all__)
def test_a_wrong_factor_is_refused(name, factor):
    with pytest.raises(ValueError, match="`factor` must be a finite number"):
        getattr(r, name)(factor)


@pytest.mark.once
@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: r.SoftOrthogonal(axis="dens"), "Did you mean 'dense'"),
        (lambda: r.MutualCoherence(axis=0.5), "`axis` must be one integer"),
        (
            lambda: r.SpectralRestrictedIsometry(gram="row"),
            "Did you mean 'rows'",
        ),
        (
            lambda: r.SpectralRestrictedIsometry(power_iterations=0),
            "`power_iterations` must be an integer of at least 1",
        ),
        (
            lambda: r.SpectralRestrictedIsometry(seed=None),
            "`seed` must be one integer",
        ),
        (
            lambda: r.SoftOrthogonal(axis=3)(np.ones((2, 3), "float32")),
            "`axis` must name distinct axes",
        ),
        (lambda: r.Decorrelation(axis=(1, 2)), "`axis` must be one integer"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
