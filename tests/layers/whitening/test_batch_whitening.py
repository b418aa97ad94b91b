"""Decorrelated batch normalization and iterative normalization.

Identities of the methods, inputs that are hard to whiten, groups that do not
divide the channels. What every layer promises is tested in tests/contract.
"""

import keras
import numpy as np
import pytest

from contract.tolerances import close
from golden import rows
from gradients import gradients
from gradients import inference
from keras_norm import operations
from keras_norm.layers import BatchNormalization
from keras_norm.layers import ComposedNormalization
from keras_norm.layers import DecorrelatedBatchNormalization
from keras_norm.layers import IterativeNormalization
from oracles import ORACLES

JAX = keras.backend.backend() == "jax"
XLA = keras.backend.backend() != "torch"
# An eigenvalue of S carries an error of about 2^-23 of the largest, so W of
# condition number k a relative one of k 2^-23; 30 for the products.
ROUNDING = 30 * 2.0**-23
EPSILON = 1e-3
# One path of the computation each.
VARIANTS = {
    "zca": {},
    "pca": {"whitening": "pca"},
    "cholesky": {"whitening": "cholesky"},
    "decorrelate": {"whitening": "decorrelate"},
    "iterative": {"whitening": "iterative"},
    "zca matrix": {"running": "matrix"},
}
WHITE = ["zca", "pca", "cholesky"]


def random(*shape, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def correlated(*shape, seed=0):
    """Channels of deviations from about 0.3 to 2, all correlated."""
    mix = np.random.default_rng(seed + 1).normal(size=(shape[-1],) * 2)
    mix = 0.5 * mix / shape[-1] ** 0.5 + np.eye(shape[-1])
    return (random(*shape, seed=seed) @ mix).astype("float32")


def rotation(d, seed=5):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def decorrelated(variant="zca", group_size=4, **options):
    options = {"epsilon": EPSILON, **VARIANTS[variant], **options}
    return DecorrelatedBatchNormalization(group_size, **options)


def trained(layer, x, calls=1):
    """The output of a training call as float64."""
    if not layer.built:
        layer.build(x.shape)
    for _ in range(calls):
        y = layer(x, training=True)
    return keras.ops.convert_to_numpy(y).astype("float64")


def covariance(x):
    points = np.reshape(x, (-1, np.shape(x)[-1])).astype("float64")
    points = points - points.mean(axis=0)
    return points.T @ points / len(points)


def regularized(x):
    sigma = covariance(x)
    return sigma + EPSILON * np.eye(len(sigma))


def condition(x):
    return np.linalg.cond(regularized(x))


# Identities -------------------------------------------------------------------


@pytest.mark.parametrize("variant", [*WHITE, "iterative", "zca matrix"])
def test_single_channels_are_batch_normalization(variant):
    x, upstream = random(6, 3, 4), random(6, 3, 4, seed=2)
    # No momentum: inference has the statistics of this batch.
    layer = decorrelated(variant, 1, momentum=0.0)
    same = BatchNormalization(momentum=0.0, epsilon=EPSILON)
    a, b = (gradients(t, [x], upstream, jit=JAX) for t in (layer, same))
    close(a.outputs, b.outputs)
    close(a.inputs[0], b.inputs[0])
    close(inference(layer, [x]), inference(same, [x]))


def test_many_newton_steps_are_the_symmetric_root():
    x, upstream = correlated(20, 3, 4), random(20, 3, 4, seed=2)
    zca = gradients(decorrelated(), [x], upstream, jit=JAX)
    layer = decorrelated("iterative", iterations=20)
    newton = gradients(layer, [x], upstream, jit=JAX)
    bound = ROUNDING * condition(x)
    for a, b in zip(
        (newton.outputs, newton.inputs[0]),
        (zca.outputs, zca.inputs[0]),
        strict=True,
    ):
        assert np.max(np.abs(a - b)) < bound * np.max(np.abs(b))


def test_decorrelated_by_newton_is_iterative_normalization():
    x = correlated(8, 3, 8)
    layer = IterativeNormalization(4, epsilon=EPSILON)
    y = trained(layer, x)
    same = trained(decorrelated("iterative", running="matrix"), x)
    np.testing.assert_array_equal(y, same)
    named = ComposedNormalization(
        operation=operations.Newton(4), epsilon=EPSILON
    )
    np.testing.assert_array_equal(trained(named, x), y)


def test_whitening_matrices_differ_by_rotations():
    x = correlated(12, 3, 4)
    grams = []
    for variant in WHITE:
        points = trained(decorrelated(variant), x).reshape(-1, 4)
        grams.append(points @ points.T)
    bound = ROUNDING * condition(x)
    for gram in grams[1:]:
        assert np.max(np.abs(gram - grams[0])) < bound * np.max(grams[0])


@pytest.mark.parametrize("variant", WHITE)
def test_covariance_of_the_result(variant):
    x = correlated(20, 3, 4)
    wanted = np.eye(4) - EPSILON * np.linalg.inv(regularized(x))
    found = covariance(trained(decorrelated(variant), x))
    if variant != "zca":
        # Another basis.
        wanted, found = (np.linalg.eigvalsh(t) for t in (wanted, found))
    np.testing.assert_allclose(found, wanted, atol=ROUNDING * condition(x))


def test_rotated_data_give_rotated_results():
    x, q = correlated(20, 3, 4), rotation(4)
    y = trained(decorrelated(), x)
    turned = trained(decorrelated(), (x @ q.T).astype("float32"))
    np.testing.assert_allclose(turned, y @ q.T, atol=ROUNDING * condition(x))


def test_form_of_the_matrices():
    x = correlated(20, 3, 4)
    sigma = regularized(x)
    found = {}
    for variant in [*WHITE, "decorrelate"]:
        layer = decorrelated(variant, running="matrix", momentum=0.0)
        trained(layer, x)
        found[variant] = keras.ops.convert_to_numpy(layer.moving_matrix)[0]
    bound = ROUNDING * condition(x)
    np.testing.assert_allclose(found["zca"], found["zca"].T, atol=bound)
    np.testing.assert_array_equal(found["cholesky"], np.tril(found["cholesky"]))
    u = found["decorrelate"]
    np.testing.assert_allclose(u @ u.T, np.eye(4), atol=bound)
    values = np.linalg.eigvalsh(sigma)[::-1]
    np.testing.assert_allclose(u @ sigma @ u.T, np.diag(values), atol=bound)
    assert np.all(np.max(u, axis=1) == np.max(np.abs(u), axis=1))
    wanted = u / np.sqrt(values)[:, None]
    np.testing.assert_allclose(found["pca"], wanted, atol=bound)


def test_more_newton_steps_whiten_more():
    x = correlated(20, 3, 8)
    least = [
        np.min(np.linalg.eigvalsh(covariance(trained(layer, x))))
        for layer in (
            decorrelated("iterative", 8, iterations=t) for t in (0, 2, 5, 9)
        )
    ]
    assert least == sorted(least)
    assert least[0] < 0.2 < 0.8 < least[-1] < 1.0
    zero = trained(decorrelated("iterative", 8, iterations=0), x)
    trace = np.trace(regularized(x))
    close(zero, (x - x.mean(axis=(0, 1))) / np.sqrt(trace))


# Groups -----------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_smaller_last_group_is_a_layer_of_its_own(variant):
    x, upstream = correlated(12, 2, 8), random(12, 2, 8, seed=2)
    layer = decorrelated(variant, 3)
    found = gradients(layer, [x], upstream, jit=JAX)
    for part in (slice(0, 3), slice(3, 6), slice(6, 8)):
        inputs, back = [x[..., part]], upstream[..., part]
        alone = gradients(decorrelated(variant, 3), inputs, back, jit=JAX)
        bound = ROUNDING * condition(x[..., part])
        close(found.outputs[..., part], alone.outputs)
        scale = max(np.max(np.abs(alone.inputs[0])), 1.0)
        difference = np.abs(found.inputs[0][..., part] - alone.inputs[0])
        assert np.max(difference) < bound * scale
    # What fills up the last group is not touched.
    for variable in layer.non_trainable_weights[1:]:
        value = keras.ops.convert_to_numpy(variable)[-1]
        np.testing.assert_array_equal(value[2], [0, 0, 1])
        np.testing.assert_array_equal(value[:, 2], [0, 0, 1])


@pytest.mark.parametrize("variant", ["zca", "pca", "cholesky", "decorrelate"])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_a_smaller_last_group_of_any_scale(variant, scale):
    x = (scale * correlated(40, 5)).astype("float32")
    layer = decorrelated(variant, 3, epsilon=EPSILON * scale**2)
    y = trained(layer, x)
    same = trained(decorrelated(variant, 3), (x / scale).astype("float32"))
    if variant == "decorrelate":
        same = same * scale
    bound = ROUNDING * condition(x / scale) * np.max(np.abs(same))
    np.testing.assert_allclose(y, same, atol=bound)


def test_more_channels_in_a_group_than_there_are():
    x = correlated(12, 2, 4)
    layer = DecorrelatedBatchNormalization(16, epsilon=EPSILON)
    y = trained(layer, x)
    assert layer.moving_covariance.shape == (1, 4, 4)
    np.testing.assert_array_equal(y, trained(decorrelated(), x))
    everything = DecorrelatedBatchNormalization(None, epsilon=EPSILON)
    np.testing.assert_array_equal(y, trained(everything, x))


# State ------------------------------------------------------------------------


def test_inference_decomposes_nothing(monkeypatch):
    x = correlated(12, 2, 8)
    layers = [decorrelated(variant, 3) for variant in VARIANTS]
    for layer in layers:
        trained(layer, x)

    def refuse(*args, **kwargs):
        raise AssertionError("a decomposition in inference")

    for name in ("eigh", "cholesky", "solve_triangular"):
        monkeypatch.setattr(keras.ops, name, refuse)
    with pytest.raises(AssertionError, match="decomposition"):
        trained(layers[0], x)
    for layer in layers:
        layer(x)


@pytest.mark.parametrize("variant", ["zca", "cholesky", "iterative"])
def test_covariance_set_by_hand(variant):
    x = correlated(12, 2, 8)
    layer = decorrelated(variant, 3)
    layer.build(x.shape)
    before = inference(layer, [x])
    np.testing.assert_array_equal(before, x)
    sigma = np.stack([np.diag([4.0, 4.0, 4.0])] * 3)
    layer.moving_covariance.assign(sigma.astype("float32"))
    layer.operation.refresh(layer)
    root = keras.ops.convert_to_numpy(layer.whitening_matrix)
    if variant != "iterative":
        np.testing.assert_allclose(root[0], 0.5 * np.eye(3), atol=1e-6)
        np.testing.assert_allclose(inference(layer, [x]), x / 2, atol=1e-5)
    assert root[2, 2, 2] == 1.0


def test_matrix_of_inference_belongs_to_the_moving_covariance():
    x = correlated(12, 2, 8)
    layer = decorrelated(momentum=0.5)
    trained(layer, x, calls=3)
    kept = keras.ops.convert_to_numpy(layer.moving_covariance)
    w = keras.ops.convert_to_numpy(layer.whitening_matrix)
    white = w @ kept @ np.swapaxes(w, -1, -2)
    bound = ROUNDING * np.max(np.linalg.cond(kept))
    np.testing.assert_allclose(white, np.stack([np.eye(4)] * 2), atol=bound)
    # Epsilon is in the state, and so not added again.
    wanted = np.eye(4) / 8 + 7 / 8 * regularized(x[..., :4])
    np.testing.assert_allclose(kept[0], wanted, atol=1e-5)


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


def badly_conditioned(rng):
    """Eigenvalues of the covariance from 1e3 to 1e-3."""
    points = np.linalg.qr(rng.normal(size=(60, 8)))[0] * 60**0.5
    deviations = np.geomspace(1e1**1.5, 1e-1**1.5, 8)
    return points * deviations @ rotation(8)


def large_half(rng):
    """float16 up to 6e4, of which two channels are the same."""
    x = rng.uniform(-6e4, 6e4, size=(40, 8))
    x[:, 3] = x[:, 0]
    return x.astype("float16")


def large_rank_one(rng):
    return 1e4 * np.outer(rng.normal(size=12), rng.normal(size=8))


HARD = {
    f.__name__: f
    for f in (
        few,
        constant_channels,
        duplicated_channels,
        one_sample,
        badly_conditioned,
        large_half,
        large_rank_one,
    )
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", HARD)
def test_hard_inputs(variant, case):
    rng = np.random.default_rng(0)
    x = HARD[case](rng)
    dtype = "float16" if x.dtype == "float16" else "float32"
    x = x.astype(dtype)
    layer = decorrelated(variant, 8)
    upstream = rng.normal(size=x.shape)
    found = gradients(layer, [x], upstream, jit=JAX, dtype=dtype)
    y = found.outputs.astype("float64")
    for values in (y, found.inputs[0], *found.weights.values()):
        assert np.all(np.isfinite(values))
    for variable in layer.non_trainable_weights:
        assert np.all(np.isfinite(keras.ops.convert_to_numpy(variable)))
    assert np.all(np.isfinite(inference(layer, [x], dtype=dtype)))
    if variant == "decorrelate":
        return
    # Whitened or less, nowhere blown up.
    slack = ROUNDING * np.linalg.norm(covariance(x), 2) / EPSILON
    assert np.max(np.linalg.eigvalsh(covariance(y))) < 1.0 + min(slack, 1.0)


@pytest.mark.parametrize("variant", ["zca", "cholesky", "iterative"])
@pytest.mark.parametrize(
    "case", ["few", "constant_channels", "duplicated_channels"]
)
def test_hard_inputs_with_an_exact_answer(variant, case):
    x = HARD[case](np.random.default_rng(0)).astype("float32")
    config = {"group_size": 8, "epsilon": EPSILON, **VARIANTS[variant]}
    found = trained(decorrelated(variant, 8), x)
    oracle = ORACLES["DecorrelatedBatchNormalization"]
    wanted, _ = oracle([x], config, {}, {}, True)
    bound = ROUNDING * condition(x)
    assert bound < 0.05
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("variant", VARIANTS)
def test_far_from_zero(variant):
    # The eigenvectors of PCA are as sure as their eigenvalues are apart.
    deviations = np.array([4.0, 2.0, 1.0, 0.5])
    x = 1e4 + random(50, 4, shift=0.0) * deviations
    x = x.astype("float32")
    config = {"group_size": 4, "epsilon": EPSILON, **VARIANTS[variant]}
    layer = decorrelated(variant)
    y = trained(layer, x)
    oracle = ORACLES["DecorrelatedBatchNormalization"]
    wanted, state = oracle([x], config, {}, {}, True)
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-4)
    for name, value in state.items():
        found = keras.ops.convert_to_numpy(getattr(layer, name))
        np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-4)


def test_large_groups_of_rank_one():
    # Where Cholesky factorizations fail unless the diagonal is raised.
    rng = np.random.default_rng(0)
    x = 1e3 * np.outer(rng.normal(size=3), rng.normal(size=300))
    y = trained(decorrelated("cholesky", 300), x.astype("float32"))
    assert np.all(np.isfinite(y))


@pytest.mark.parametrize("variant", ["pca", "decorrelate"])
def test_equal_eigenvalues_have_a_finite_gradient(variant):
    # The corners of a square: white already.
    x = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], "float32")
    upstream = random(4, 2)
    found = gradients(decorrelated(variant, 2), [x], upstream, jit=JAX)
    assert np.all(np.isfinite(found.inputs[0]))


# Fit --------------------------------------------------------------------------


@pytest.mark.compile
def test_fit_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    inputs = keras.Input((4, 4, 6))
    layers = [decorrelated(variant, 4) for variant in VARIANTS]
    layers.append(IterativeNormalization(4, running="covariance"))
    outputs = keras.layers.Concatenate()([layer(inputs) for layer in layers])
    outputs = keras.layers.GlobalAveragePooling2D()(
        keras.layers.Activation("tanh")(outputs)
    )
    outputs = keras.layers.Dense(1, dtype="float32")(outputs)
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse", jit_compile=XLA)
    # Sizes at which squares overflow in float16.
    x = 300 * correlated(20, 4, 4, 6)
    history = model.fit(x, random(20, 1), batch_size=8, epochs=2, verbose=0)
    assert np.all(np.isfinite(history.history["loss"]))
    for layer in layers:
        for variable in layer.weights:
            assert variable.dtype == "float32"
            value = keras.ops.convert_to_numpy(variable)
            assert np.all(np.isfinite(value))
        assert np.any(keras.ops.convert_to_numpy(layer.moving_mean) != 0)


# Golden vectors ---------------------------------------------------------------

ARBITRARY_SIGNS = [
    row
    for row in rows.read_all()
    if row.method == "DecorrelatedBatchNormalization"
    and row.config.get("row_signs") == "arbitrary"
]


@pytest.mark.parametrize("row", ARBITRARY_SIGNS, ids=repr)
def test_principal_axes_up_to_their_signs(row):
    """What the golden consumer cannot compare: W of the program is s W."""
    a, keep = row.arranged(-1), row.keep_momentum
    layer = DecorrelatedBatchNormalization(
        row.config["group_size"],
        row.config["whitening"],
        momentum=keep,
        epsilon=row.epsilon,
        running="matrix",
    )
    layer.build(a["x"].shape)
    gamma, beta = a["param_gamma"].ravel(), a["param_beta"].ravel()
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    layer.moving_mean.assign(a["state0_mean_g0"].ravel())
    layer.moving_matrix.assign(a["state0_mat_g0"][None])
    theirs = (a["state_mat_g0"] - keep * a["state0_mat_g0"]) / (1 - keep)
    largest = np.argmax(np.abs(theirs), axis=1)
    signs = np.sign(theirs[np.arange(len(theirs)), largest])
    found = gradients(layer, [a["x"]], a["dy"] * signs, jit=JAX)
    pairs = [
        (found.outputs, (a["y"] - beta) * signs + beta),
        (found.inputs[0], a["dx"]),
        (found.weights["gamma"], a["grad_gamma"].ravel()),
        (found.weights["beta"] * signs, a["grad_beta"].ravel()),
    ]
    ours = keras.ops.convert_to_numpy(layer.moving_matrix)[0]
    ours = (ours - keep * a["state0_mat_g0"]) / (1 - keep)
    pairs.append((ours, theirs * signs[:, None]))
    layer.moving_matrix.assign(a["state_mat_g0"][None])
    pairs.append((inference(layer, [a["x"]]), a["y_eval"]))
    for ours, wanted in pairs:
        # The tolerance of golden/data/README.md for whitening.
        error = np.max(np.abs(ours - wanted)) / np.max(np.abs(wanted))
        assert error < 2e-4
