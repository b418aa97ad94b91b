"""Steps on manifolds against the formulas in NumPy float64."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from oracles import optimizers as oracle

rng = np.random.default_rng(3)

SHAPE = (7, 3)
KERNEL = rng.normal(size=SHAPE)
GRADIENTS = rng.normal(size=(3, *SHAPE))
# Three steps in float32 of some ten products each; Adam divides by roots.
ROUNDING = 5e-6

PAIRS = [
    ("stiefel", "qr"),
    ("stiefel", "polar"),
    ("oblique", "normalize"),
    ("oblique", "geodesic"),
    ("grassmann", "geodesic"),
]
INNERS = {
    "sgd": (lambda: keras.optimizers.SGD(0.1, 0.9), lambda: oracle.SGD(0.9)),
    "adam": (lambda: keras.optimizers.Adam(0.1), oracle.Adam),
}


def variable(value=KERNEL, name="kernel"):
    return keras.Variable(value.astype("float32"), name=name)


def run(optimizer, gradients=GRADIENTS, value=KERNEL):
    """The kernel as placed and after each gradient, float64."""
    w = variable(value)
    optimizer.build([w])
    found = [keras.ops.convert_to_numpy(w).astype("float64")]
    for g in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g.astype("float32"))], [w])
        found.append(np.array(keras.ops.convert_to_numpy(w), "float64"))
    return found


def columns(m):
    """Each column as a matrix of its own."""
    return [m[:, i : i + 1] for i in range(m.shape[1])]


@pytest.mark.parametrize("inner", list(INNERS))
@pytest.mark.parametrize("manifold, retraction", PAIRS)
def test_riemannian_is_the_formula(manifold, retraction, inner):
    make, reference = INNERS[inner]
    x, *found = run(kn.optimizers.Riemannian(make(), manifold, retraction))
    start = {"qr": oracle.by_qr, "polar": oracle.by_polar}
    placed = start.get(retraction, oracle.unit)(KERNEL)
    assert np.abs(x - placed).max() <= ROUNDING
    # A line is a subspace of one dimension; all is done column by column.
    parts = columns(x) if manifold == "grassmann" else [x]
    given = [columns(g) if manifold == "grassmann" else [g] for g in GRADIENTS]
    steps = [reference() for _ in parts]
    for after, gradients in zip(found, given, strict=True):
        parts = [
            oracle.riemannian(manifold, retraction, x, g, step, 0.1)
            for x, g, step in zip(parts, gradients, steps, strict=True)
        ]
        assert np.abs(after - np.concatenate(parts, 1)).max() <= ROUNDING


@pytest.mark.parametrize("retraction", ["qr", "polar"])
def test_subspaces_of_several_dimensions(retraction):
    optimizer = kn.optimizers.Riemannian(
        keras.optimizers.SGD(0.1, 0.9), "grassmann", retraction, dimension=3
    )
    x, *found = run(optimizer)
    inner = oracle.SGD(0.9)
    for after, g in zip(found, GRADIENTS, strict=True):
        x = oracle.riemannian("grassmann", retraction, x, g, inner, 0.1)
        assert np.abs(after - x).max() <= ROUNDING


CAYLEY = {
    # The second rate is cut by the norm of W.
    "sgd": (kn.optimizers.CayleySGD, oracle.CayleySGD, {"momentum": 0.9}),
    "adam": (kn.optimizers.CayleyAdam, oracle.CayleyAdam, {"beta_1": 0.8}),
}


@pytest.mark.parametrize("rate", [0.05, 5.0])
@pytest.mark.parametrize("kind", list(CAYLEY))
def test_cayley_is_the_formula(kind, rate):
    cls, reference, options = CAYLEY[kind]
    optimizer = cls(rate, reorthogonalize_every=None, polish=False, **options)
    x, *found = run(optimizer)
    assert np.abs(x - oracle.by_qr(KERNEL)).max() <= ROUNDING
    steps = reference(rate, **options)
    for after, g in zip(found, GRADIENTS, strict=True):
        x = steps.step(x, g)
        assert np.abs(after - x).max() <= ROUNDING


@pytest.mark.parametrize("kind", list(CAYLEY))
def test_polish_gives_the_nearest_orthonormal_matrix(kind):
    cls, reference, options = CAYLEY[kind]
    x, after, *_ = run(cls(5.0, **options))
    expected = reference(5.0, **options).step(x, GRADIENTS[0])
    error = np.linalg.norm(expected.T @ expected - np.eye(3))
    assert error > 1e-4
    assert np.abs(after.T @ after - np.eye(3)).max() <= 1e-6
    # The nearest is half of the error away.
    assert np.linalg.norm(after - oracle.by_polar(expected)) <= 1e-5
    assert np.linalg.norm(after - expected) <= error


def test_reorthogonalization_is_periodic():
    options = {"momentum": 0.9, "polish": False}
    plain = run(
        kn.optimizers.CayleySGD(5.0, reorthogonalize_every=None, **options)
    )
    every = run(
        kn.optimizers.CayleySGD(5.0, reorthogonalize_every=2, **options)
    )
    assert np.abs(every[1] - plain[1]).max() <= 1e-7
    assert np.abs(every[2] - oracle.by_qr(plain[2])).max() <= ROUNDING


def optimizers(rate):
    """One of each kind, without momentum, and the tangent space it uses."""
    for manifold, retraction in PAIRS:
        inner = keras.optimizers.SGD(rate)
        yield kn.optimizers.Riemannian(inner, manifold, retraction), manifold
    yield kn.optimizers.CayleySGD(rate), "stiefel"


def test_the_direction_tends_to_the_projected_gradient():
    g = GRADIENTS[0]
    errors = {}
    for rate in (1e-2, 1e-3):
        for index, (optimizer, manifold) in enumerate(optimizers(rate)):
            x, after = run(optimizer, [g])
            pieces = columns(x) if manifold == "grassmann" else [x]
            given = columns(g) if manifold == "grassmann" else [g]
            tangent = np.concatenate(
                [
                    oracle.tangent(manifold, a, b)
                    for a, b in zip(pieces, given, strict=True)
                ],
                1,
            )
            wrong = np.linalg.norm((after - x) / rate + tangent)
            errors.setdefault(index, []).append(wrong / np.linalg.norm(tangent))
    for far, near in errors.values():
        # The second order is |P(G)|^2 rate, |P(G)| = 4; rounding 1e-4.
        assert far <= 0.05
        assert near <= 0.005


def test_the_direction_of_adam_is_tangent():
    # |G| divides: a step of the length of the rate, but for what is not
    # tangent.
    x, after = run(kn.optimizers.CayleyAdam(1e-3), GRADIENTS[:1])
    g = GRADIENTS[0]
    tangent = oracle.tangent("stiefel", x, g) / np.linalg.norm(g)
    wrong = np.linalg.norm((after - x) / 1e-3 + tangent)
    assert wrong <= 0.005 * np.linalg.norm(tangent)


@pytest.mark.parametrize("retraction", ["qr", "polar"])
def test_only_the_span_matters_to_grassmann(retraction):
    r = oracle.by_qr(rng.normal(size=(3, 3)))

    def spans(value, gradients):
        optimizer = kn.optimizers.Riemannian(
            keras.optimizers.SGD(0.1), "grassmann", retraction, dimension=3
        )
        return [w @ w.T for w in run(optimizer, gradients, value)]

    x = oracle.by_qr(KERNEL)
    # A function of the span has gradients that turn with its basis, and the
    # steps turn, too: only the first gradient is the same up to r.
    first = spans(x, GRADIENTS[:1])
    second = spans(x @ r, GRADIENTS[:1] @ r)
    for a, b in zip(first, second, strict=True):
        assert np.abs(a - b).max() <= ROUNDING


def test_the_sign_of_a_neuron_does_not_matter_to_grassmann():
    signs = np.array([1.0, -1.0, -1.0])

    def steps(value, gradients):
        optimizer = kn.optimizers.Riemannian(
            keras.optimizers.SGD(0.1, 0.9), "grassmann"
        )
        return run(optimizer, gradients, value)

    first = steps(KERNEL, GRADIENTS)
    second = steps(2.0 * signs * KERNEL, signs * GRADIENTS)
    for a, b in zip(first, second, strict=True):
        assert np.abs(signs * a - b).max() <= ROUNDING


def test_neurons_of_zeros_and_of_tiny_weights_have_a_direction():
    value = KERNEL * np.array([0.0, 1e-25, 1e20])
    x, after = run(
        kn.optimizers.Riemannian(keras.optimizers.SGD(0.1), "oblique"),
        GRADIENTS[:1],
        value,
    )
    for w in (x, after):
        assert np.abs(np.linalg.norm(w, axis=0) - 1).max() <= 1e-6
