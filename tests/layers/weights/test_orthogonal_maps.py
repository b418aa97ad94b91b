"""Orthogonal maps: identities, hard kernels, start, the way back."""

import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_norm as kn
from keras_norm.core import orthogonal
from layers.weights.effective import array
from layers.weights.effective import effective
from layers.weights.kinds import KINDS
from layers.weights.kinds import built
from oracles import weights as oracle

# Orthonormality that eigh and the solvers of float32 reach for kernels of a
# condition of at most some tens.
NEAR = 5e-5
OWN = kn.layers.OrthogonalWeightNormalization
ONI = kn.layers.NewtonOrthogonalization
ORTHOGONAL = kn.layers.OrthogonalParametrization
METHODS = ["cayley", "matrix_exponential", "householder"]


def wrapped(cls, v, *args, **options):
    """A wrapper around a dense layer with this kernel."""
    layer = layers.Dense(v.shape[1])
    layer.build((None, v.shape[0]))
    layer.set_weights([v, np.zeros(v.shape[1])])
    wrapper = cls(layer, *args, **options)
    wrapper.build((None, v.shape[0]))
    return wrapper


def values(seed=0, shape=(12, 5)):
    return np.random.default_rng(seed).standard_normal(shape)


def derived(wrapper, upstream):
    found = effective(wrapper, [upstream])
    return found.kernels["kernel"], found.kernel_gradients["kernel"]


def from_identity(rows):
    """The largest entry of |W W^T - I|."""
    return np.abs(rows @ rows.T - np.eye(len(rows))).max()


TOWARDS = [
    (OWN, {}),
    (OWN, {"solver": "newton"}),
    (ONI, {"iterations": 15}),
]


@pytest.mark.parametrize("outputs, size", [(6, None), (7, 3), (20, 9)])
@pytest.mark.parametrize("cls, options", TOWARDS)
def test_rows_of_each_group_are_orthonormal(cls, options, outputs, size):
    v = values(shape=(12, outputs))
    wrapper = wrapped(cls, v, group_size=size, **options)
    w = array(wrapper.effective_kernel()).T
    for start in range(0, outputs, size or outputs):
        # The gram matrices of 9 in 11 dimensions are ill-conditioned.
        near = 5e-3 if size == 9 else 1e-3 if cls is ONI else NEAR
        assert from_identity(w[start : start + (size or outputs)]) <= near
    assert np.abs(w.sum(axis=1)).max() <= 1e-3
    assert wrapper.violations()["kernel"] <= 5e-3
    other = ops.convert_to_tensor(1.1 * w.T)
    found = wrapper.violation(other, wrapper.kernels()[0])
    assert 0.05 < float(array(found)) < 0.3


def test_default_group_is_the_largest_that_can_be():
    wrapper = wrapped(OWN, values(shape=(5, 9)))
    w = array(wrapper.effective_kernel()).T
    # Four centred rows in five dimensions.
    for rows in (w[:4], w[4:8], w[8:]):
        assert from_identity(rows) <= 1e-3


@pytest.mark.parametrize("kind", ["conv2d", "embedding", "lstm"])
def test_newton_solver_is_the_eigendecomposition(kind):
    found = []
    for solver in ("eigh", "newton"):
        wrapper = OWN(built(kind), solver=solver, group_size=2)
        wrapper.build((None, *KINDS[kind][1]))
        upstream = [values(7, k.shape) for k in wrapper.kernels()]
        found.append(effective(wrapper, upstream))
    for first, second in zip(*found, strict=True):
        for path in first:
            largest = np.abs(first[path]).max()
            assert np.abs(first[path] - second[path]).max() <= 1e-3 * largest


@pytest.mark.parametrize("cls, options", TOWARDS)
def test_scale_of_the_kernel_does_not_matter(cls, options):
    options = {**options, "epsilon": 0.0}
    v, upstream = values(), values(1)
    w, slope = derived(wrapped(cls, v, **options), upstream)
    for factor in (1e-2, 1e3):
        same, smaller = derived(wrapped(cls, factor * v, **options), upstream)
        assert np.abs(same - w).max() <= 1e-4
        assert np.abs(factor * smaller - slope).max() <= 1e-3
    # <V, dV> = 0, and rows of dV have the sum 0 as rows are centred.
    assert abs(np.sum(v * slope)) <= 1e-3
    assert np.abs(slope.sum(axis=0)).max() <= 1e-4


@pytest.mark.parametrize("cls, options", TOWARDS)
def test_orthogonal_start(cls, options):
    # All eigenvalues of the gram matrix are equal.
    v = values()
    q = np.linalg.qr(v - v.mean(axis=0))[0]
    upstream = values(1)
    w, slope = derived(wrapped(cls, q, **options), upstream)
    assert np.abs(w - q).max() <= 1e-4
    # Projected on the tangents at q and on rows of mean 0.
    g = upstream - upstream.mean(axis=0)
    half = 0.5 * (q.T @ g + g.T @ q)
    assert np.abs(slope - (g - q @ half)).max() <= 1e-3


@pytest.mark.parametrize(
    "cls, options",
    [*TOWARDS, (OWN, {"epsilon": 1e-7}), (ONI, {"mode": "column"}), (ONI, {})]
    + [(ONI, {"epsilon": 0.0, "iterations": 15})],
)
def test_neurons_of_zeros(cls, options):
    v = values(shape=(6, 4))
    one = np.array(v)
    one[:, 1] = 0
    for kernel in (one, 0 * v, 1e-20 * v):
        w, slope = derived(wrapped(cls, kernel, **options), values(1, v.shape))
        assert np.isfinite(w).all() and np.isfinite(slope).all()
        assert np.abs(w).max() <= 1.001
    w, _ = derived(wrapped(cls, one, **options), values(1, v.shape))
    assert np.abs(w[:, 1]).max() <= 1e-3


def test_iterations_go_from_a_bound_to_orthonormality():
    v = values()
    smallest = []
    for steps in (0, 1, 3, 5, 10):
        w = array(wrapped(ONI, v, steps).effective_kernel())
        singular = np.linalg.svd(w, compute_uv=False)
        assert singular[0] <= 1 + 1e-4
        smallest.append(singular[-1])
    assert (np.diff(smallest) > -1e-4).all()
    assert abs(smallest[-1] - 1) <= 1e-3
    # Without steps V / sqrt(|V V^T|).
    z = v - v.mean(axis=0)
    w = array(wrapped(ONI, v, 0).effective_kernel())
    assert np.abs(w - z / np.linalg.norm(z.T @ z) ** 0.5).max() <= NEAR


def test_columns():
    # More neurons than inputs: W^T W = I, not centred.
    v = values(shape=(5, 12))
    wrapper = wrapped(ONI, v, 15)
    w = array(wrapper.effective_kernel())
    assert from_identity(w) <= 1e-3
    assert wrapper.violations()["kernel"] <= 1e-3
    # Groups that fit are rows again.
    w = array(wrapped(ONI, v, 15, group_size=4).effective_kernel()).T
    assert from_identity(w[4:8]) <= 1e-2


@pytest.mark.parametrize("cls", [OWN, ONI])
def test_errors_of_groups(cls):
    for options, message in [
        ({"groups": 2, "group_size": 3}, "Only one of"),
        ({"groups": 5}, "`groups` must divide"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrapped(cls, values(shape=(12, 6)), **options)
    if cls is OWN:
        with pytest.raises(ValueError, match="at most 4 orthonormal"):
            wrapped(cls, values(shape=(5, 8)), group_size=5)
        wrapped(cls, values(shape=(5, 8)), group_size=5, center=False)


@pytest.mark.parametrize(
    "cls, options",
    [*TOWARDS, *[(ORTHOGONAL, {"method": method}) for method in METHODS]],
)
def test_right_inverse(cls, options):
    v = values(2)
    q = np.linalg.qr(v - v.mean(axis=0))[0]
    wrapper = wrapped(cls, values(), **options)
    wrapper.set_plain_weights([q, np.zeros(5)])
    w = array(wrapper.effective_kernel())
    # Columns of q come with the sign of R where only the Q of QR is had.
    expected = oracle.q_of(q) if cls is ORTHOGONAL else q
    assert np.abs(w - expected).max() <= 1e-4


# Orthogonal parametrization ---------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8), (5, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_dense_formulas(method, shape):
    n, k = max(shape), min(shape)
    x = values(1, (2, n, k))
    for scale in (0.0, 2.0):
        given = (scale * x).astype("float32")
        tensor = ops.convert_to_tensor(given)
        full = array(orthogonal.MAPS[method](tensor, full=True))
        thin = array(orthogonal.MAPS[method](tensor))
        for found, first, m in zip(full, thin, given, strict=True):
            expected = oracle.ORTHOGONAL[method](m.astype("float64"))
            assert np.abs(found - expected).max() <= 2e-5
            assert np.abs(first - expected[:, :k]).max() <= 2e-5


@pytest.mark.parametrize("kind", ["dense", "conv2d", "transposed"])
@pytest.mark.parametrize("method", METHODS)
def test_start_is_the_q_of_the_kernel(method, kind):
    wrapper = ORTHOGONAL(built(kind), method)
    wrapper.build((None, *KINDS[kind][1]))
    kernel = wrapper.kernels()[0]
    v = ops.convert_to_tensor(kernel.value)
    m = array(kernel.matrices(v))[0]
    w = array(kernel.matrices(wrapper.effective_kernel()))[0]
    wide = m.shape[0] < m.shape[1]
    expected = oracle.q_of(m.T).T if wide else oracle.q_of(m)
    assert np.abs(w - expected).max() <= NEAR
    assert wrapper.violations()["kernel"] <= NEAR
    base = array(wrapper.base)[0]
    assert from_identity(base) <= NEAR
    # The kernel is as it was.
    assert np.array_equal(
        array(wrapper.layer.kernel), array(built(kind).kernel)
    )


@pytest.mark.parametrize("shape", [(6, 6), (9, 4)])
@pytest.mark.parametrize("method", METHODS)
def test_free_parameter_can_be_anything(method, shape):
    wrapper = wrapped(ORTHOGONAL, values(shape=shape), method)
    # The exponential is good for |A| up to 32.
    for scale in (0.0, 1.0, 5.0 if method == "matrix_exponential" else 30.0):
        wrapper.layer.kernel.assign(scale * values(3, shape))
        w, slope = derived(wrapper, values(4, shape))
        rows = w if shape[0] < shape[1] else w.T
        assert from_identity(rows) <= 2 * NEAR
        assert np.isfinite(slope).all()
        # The diagonal, and what is above it, is not used.
        tall = slope if shape[0] > shape[1] else slope.T
        assert np.abs(np.triu(tall)).max() <= 1e-6
    assert wrapper.violations()["kernel"] <= 2 * NEAR


def test_methods_agree_at_zero():
    found = []
    for method in METHODS:
        wrapper = wrapped(ORTHOGONAL, values(), method)
        sign = -1.0 if method == "householder" else 0.0
        wrapper.layer.kernel.assign(sign * np.eye(12, 5))
        wrapper.base.assign(oracle.q_of(values(5, (12, 12)))[None])
        found.append(array(wrapper.effective_kernel()))
    # Reflections at unit vectors give -1, the signs +1 again.
    for w in found:
        assert np.abs(w - found[0]).max() <= NEAR


def test_without_trivialization():
    wrapper = wrapped(ORTHOGONAL, values(), trivialize=False)
    assert len(wrapper.weights) == 2
    with pytest.raises(ValueError, match="`trivialize=True`"):
        wrapper.set_plain_weights([values(), np.zeros(5)])
    with pytest.raises(ValueError, match="Did you mean 'householder'"):
        ORTHOGONAL(layers.Dense(3), "housholder")


def test_gates_are_orthogonal_each():
    wrapper = ORTHOGONAL(built("lstm"), targets=["recurrent_kernel"])
    wrapper.build((None, 6, 4))
    w = array(wrapper.effective_kernels()["recurrent_kernel"])
    for gate in np.split(w, 4, axis=1):
        assert from_identity(gate) <= NEAR
    wrapper = ORTHOGONAL(
        built("lstm"), targets=["recurrent_kernel"], split_gates=False
    )
    wrapper.build((None, 6, 4))
    w = array(wrapper.effective_kernels()["recurrent_kernel"])
    assert from_identity(w) <= NEAR
