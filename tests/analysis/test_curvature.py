"""Curvature of models whose matrices NumPy can write down."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from contract.method import numpy

curvature = kn.analysis.curvature
SAMPLES, INPUTS, HIDDEN, CLASSES = 6, 3, 2, 2
SIZE = INPUTS * HIDDEN + HIDDEN * CLASSES
RNG = np.random.default_rng(3)
X = RNG.normal(size=(SAMPLES, INPUTS)).astype("float32")
Y = RNG.integers(0, CLASSES, SAMPLES)
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(**options):
    """softmax(tanh(x U) W), without biases: ten weights."""
    return keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(
                HIDDEN, "tanh", use_bias=False, kernel_initializer=init(0)
            ),
            keras.layers.Dense(
                CLASSES,
                use_bias=False,
                kernel_initializer=init(1),
                **options,
            ),
        ]
    )


def init(seed):
    return keras.initializers.RandomNormal(stddev=0.7, seed=seed)


def weights(model):
    flat = [numpy(v).ravel().astype("float64") for v in model.weights]
    return np.concatenate(flat)


def logits(w):
    u, v = np.split(w, [INPUTS * HIDDEN])
    hidden = np.tanh(X.astype("float64") @ u.reshape(INPUTS, HIDDEN))
    return hidden @ v.reshape(HIDDEN, CLASSES)


def losses(w):
    """Of each sample."""
    z = logits(w)
    z = z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))
    return -z[np.arange(SAMPLES), Y]


def derivative(function, w, h=1e-4):
    """Last axis: the weights."""
    steps = h * np.eye(len(w))
    found = [(function(w + s) - function(w - s)) / (2 * h) for s in steps]
    return np.stack(found, axis=-1)


def hessian(w):
    return derivative(lambda w: derivative(lambda w: losses(w).mean(), w), w)


def gauss_newton(w):
    jacobian, z = derivative(logits, w), logits(w)
    p = np.exp(z) / np.sum(np.exp(z), axis=-1, keepdims=True)
    inner = p[:, :, None] * np.eye(CLASSES) - p[:, :, None] * p[:, None]
    return np.einsum("nai,nab,nbj->ij", jacobian, inner, jacobian) / SAMPLES


def empirical_fisher(w):
    slopes = derivative(losses, w)
    return slopes.T @ slopes / SAMPLES


MATRICES = {
    "hessian": hessian,
    "gauss_newton": gauss_newton,
    "empirical_fisher": empirical_fisher,
}


@pytest.mark.parametrize("matrix", MATRICES)
def test_matrices(matrix):
    """All eigenvalues, the density by as many nodes, the trace."""
    model = network()
    a = MATRICES[matrix](weights(model))
    expected = np.linalg.eigvalsh(a)
    largest = np.max(np.abs(expected))
    found = curvature(
        model,
        X,
        Y,
        CROSS_ENTROPY,
        matrix,
        eigenvalues=SIZE,
        density=True,
        probes=3,
        nodes=4,
        seed=0,
    )
    assert found.size == SIZE
    assert np.all(np.diff(np.abs(found.eigenvalues)) <= 0)
    np.testing.assert_allclose(
        np.sort(found.eigenvalues), expected, atol=1e-5 * largest
    )
    assert found.nodes.shape == found.weights.shape == (3, 4)
    np.testing.assert_allclose(np.sum(found.weights, axis=1), 1, atol=1e-9)
    # Of one probe of signs the variance is that of 2 sum_(i<j) a_ij s_i s_j.
    variance = 2 * (np.sum(a**2) - np.sum(np.diag(a) ** 2))
    assert abs(found.trace - np.trace(a)) <= 4 * np.sqrt(variance / 3)
    grid, density = found.smoothed()
    assert abs(np.sum(density) * (grid[1] - grid[0]) - 1) <= 1e-3


@pytest.mark.parametrize("method", ["lanczos", "power"])
def test_methods(method):
    """Linear regression: H = 2 / (N k) X^T X for each of k outputs."""
    model = keras.Sequential(
        [keras.Input((INPUTS,)), keras.layers.Dense(1, use_bias=False)]
    )
    model.compile("sgd", loss="mse")
    x = X * np.float32([3.0, 1.0, 0.3])
    expected = np.linalg.eigvalsh(2 / SAMPLES * x.T @ x)[::-1]
    found = curvature(
        model,
        x,
        np.ones((SAMPLES, 1)),
        eigenvalues=3,
        method=method,
        tolerance=1e-4,
        seed=1,
    )
    size = expected[0]
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-4 * size)
    assert np.all(found.residuals <= 1e-4 * size)
    assert found.trace is None and found.nodes is None


def test_penalties_and_differences():
    """An L2 penalty of the last kernel adds 2 strength there."""
    model = network(kernel_regularizer=keras.regularizers.L2(0.25))
    w = weights(model)
    expected = hessian(w)
    options = {"eigenvalues": SIZE, "difference": 1e-2, "seed": 0}
    found = curvature(model, X, Y, CROSS_ENTROPY, **options)
    wanted = np.linalg.eigvalsh(expected)
    np.testing.assert_allclose(np.sort(found.eigenvalues), wanted, atol=1e-3)
    last = np.arange(SIZE) >= INPUTS * HIDDEN
    wanted = np.linalg.eigvalsh(expected + np.diag(0.5 * last))
    model.compile(loss=CROSS_ENTROPY)
    found = curvature(model, X, Y, penalties=True, eigenvalues=SIZE, seed=0)
    np.testing.assert_allclose(np.sort(found.eigenvalues), wanted, atol=1e-5)


def test_the_model_stays_as_it_is():
    """Statistics, seeds, weights; and a seed repeats the result."""
    model = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(4, use_bias=False, kernel_initializer=init(2)),
            kn.layers.BatchNormalization(epsilon=1e-9),
            keras.layers.Dropout(0.3, seed=1),
            keras.layers.Dense(CLASSES, kernel_initializer=init(3)),
        ]
    )
    before = [numpy(v).copy() for v in model.variables]
    found = curvature(model, X, Y, CROSS_ENTROPY, training=True, seed=0)
    again = curvature(model, X, Y, CROSS_ENTROPY, training=True, seed=0)
    assert np.array_equal(found.eigenvalues, again.eigenvalues)
    for old, new in zip(before, model.variables, strict=True):
        assert np.array_equal(old, numpy(new))


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    found = kn.analysis.Curvature(
        "hessian", 3, np.array([2.0]), np.array([0.0])
    )
    assert found.plot().get_ylabel() == "eigenvalue"
    with pytest.raises(ValueError, match="`density` must be True"):
        found.smoothed()
    nodes = np.array([[0.0, 2.0]])
    found = kn.analysis.Curvature(
        "hessian", 3, np.array([2.0]), np.array([0.0]), nodes, nodes / 2
    )
    axes = found.plot()
    assert found.plot(axes) is axes


@pytest.mark.parametrize(
    "options, message",
    [
        ({"matrix": "fischer"}, "`matrix` must be one of.*'fischer'"),
        ({"method": "qr"}, "`method` must be one of"),
        ({"eigenvalues": SIZE + 1}, "at most the number of weights"),
        ({"steps": 0}, "`steps`"),
        ({"difference": -1.0}, "`difference` must be None or positive"),
        (
            {"matrix": "gauss_newton", "penalties": True},
            "`penalties` and `difference`",
        ),
        ({"loss": None}, "`loss` must be given"),
    ],
)
@pytest.mark.once
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        curvature(network(), X, Y, **{"loss": CROSS_ENTROPY, **options})
