"""Spectral normalization: value, gradient, state, bounds, hard kernels."""

import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from golden.tolerance import error
from golden.tolerance import tolerance
from layers.weights.effective import LABELS
from layers.weights.effective import array
from layers.weights.effective import arrays
from layers.weights.effective import effective
from layers.weights.kinds import KINDS
from layers.weights.kinds import built
from oracles import weights as oracle

# float32 through the products of one step.
NEAR = tolerance("standardize", "float64", 200, gradient=True)


def wrapped(v, **options):
    """A wrapper around a dense layer with this kernel."""
    layer = layers.Dense(v.shape[1])
    layer.build((None, v.shape[0]))
    layer.set_weights([v, np.zeros(v.shape[1])])
    wrapper = kn.layers.SpectralNormalization(layer, **options)
    wrapper.build((None, v.shape[0]))
    return wrapper


def values(seed=0, shape=(7, 5)):
    return np.random.default_rng(seed).standard_normal(shape)


def kernel_and_gradient(wrapper, upstream, training=False):
    found = effective(wrapper, [upstream], training)
    return found.kernels["kernel"], found.kernel_gradients["kernel"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", LABELS)
def test_kernel_gradient_and_state(kind, training):
    wrapper = kn.layers.SpectralNormalization(
        built(kind), power_iterations=2, warmup_iterations=0, seed=3
    )
    wrapper.build((None, *KINDS[kind][1]))
    kernels = wrapper.kernels()
    random = np.random.default_rng(2)
    upstream = {k.path: random.standard_normal(k.shape) for k in kernels}
    states = [wrapper.state_of(k)["vector_u"] for k in kernels]
    for state in states:
        state.assign(random.standard_normal(state.shape))
    before = [array(state).astype("float64") for state in states]
    found = effective(wrapper, upstream.values(), training)
    for kernel, state, starts in zip(kernels, states, before, strict=True):
        path, v = kernel.path, arrays(wrapper)[kernel.path]
        # An embedding is a linear map of one-hot vectors.
        letters = "ro" if kind == "embedding" else LABELS[kind][path]
        given, new = iter(starts), []

        def each(m, given=given, new=new):
            u = next(given)
            vectors = oracle.spectral_vectors(m, u, 2 if training else 0)
            new.append(vectors)
            return m / vectors[0]

        w = oracle.by_matrix(v, letters, each)
        assert error(found.kernels[path], w) <= NEAR
        us = [u for _, u, _ in new]
        assert error(array(state), us) <= NEAR
        if not training:
            assert np.array_equal(array(state), starts.astype("float32"))
        blocks = zip(
            oracle.matrices(v, letters),
            oracle.matrices(upstream[path], letters),
            new,
            strict=True,
        )
        slopes = []
        for m, g, (sigma, u, right) in blocks:
            if not training:
                # The half step starts from a u that is no unit vector.
                along = np.sum(g * m) / sigma
                slopes.append((g - along * np.outer(u, right)) / sigma)
            else:
                slopes.append(oracle.spectral_gradient(m, g, u, right))
        ours = oracle.matrices(found.kernel_gradients[path], letters)
        assert error(ours, slopes) <= 3 * NEAR


def test_largest_singular_value_becomes_1():
    v = values()
    wrapper = wrapped(v, warmup_iterations=0)
    wrapper.vector_u.assign(np.eye(1, 5))
    sigmas = []
    for _ in range(60):
        (w,) = wrapper.effective_kernels(training=True).values()
        sigmas.append(np.linalg.norm(array(w), 2))
    # From above: a vector that is not the singular one gives less.
    assert sigmas[0] > 1.0
    assert (np.diff(sigmas) <= 1e-5).all()
    assert abs(sigmas[-1] - 1) <= 1e-5
    assert wrapper.violations()["kernel"] <= 1e-5


def test_warmup():
    found = [
        wrapped(values(), warmup_iterations=n, seed=1).violations()["kernel"]
        for n in (0, 15, 100)
    ]
    assert found[0] > 1e-2 > found[1] > found[2]
    assert found[2] <= 1e-5


@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_scale_does_not_matter(factor):
    upstream = values(1)
    first, second = (
        kernel_and_gradient(wrapped(v, warmup_iterations=200), upstream)
        for v in (values(), factor * values())
    )
    assert error(second[0], first[0]) <= NEAR
    assert error(factor * second[1], first[1]) <= 3 * NEAR
    # <v, dv> = 0.
    along = abs(np.sum(values() * first[1]))
    assert along <= NEAR * np.linalg.norm(values()) * np.linalg.norm(first[1])


def test_inference_moves_nothing():
    wrapper = wrapped(values(), warmup_iterations=1)
    x = values(2, (3, 7)).astype("float32")
    before = array(wrapper.vector_u)
    first = array(wrapper(x))
    assert np.array_equal(array(wrapper(x)), first)
    assert np.array_equal(array(wrapper.vector_u), before)
    wrapper(x, training=True)
    assert not np.array_equal(array(wrapper.vector_u), before)
    wrapper.trainable = False
    before = array(wrapper.vector_u)
    wrapper(x, training=True)
    assert np.array_equal(array(wrapper.vector_u), before)


@pytest.mark.parametrize("method", ["reshape", "convolution"])
@pytest.mark.parametrize("mode", ["divide", "bound"])
def test_zero_kernel(mode, method):
    layer = layers.Conv1D(4, 2)
    layer.build((None, 5, 3))
    raw = values(0, (2, 3, 4))
    layer.set_weights([0 * raw, np.zeros(4)])
    wrapper = kn.layers.SpectralNormalization(layer, method=method, mode=mode)
    wrapper.build((None, 5, 3))
    assert np.linalg.norm(array(wrapper.vector_u)) > 0.1
    for training in (False, True):
        w, slope = kernel_and_gradient(wrapper, raw, training)
        assert not w.any()
        # It is left as it is, and so is its gradient.
        assert np.abs(slope - raw).max() <= 1e-6
    # u is there when the kernel is.
    layer.kernel.assign(raw)
    for _ in range(60):
        wrapper.effective_kernels(training=True)
    assert wrapper.violations()["kernel"] <= 1e-3


@pytest.mark.parametrize("bound", [0.5, 1.0, 100.0])
@pytest.mark.parametrize("mode", ["divide", "bound"])
def test_norm_bound(mode, bound):
    v = values()
    wrapper = wrapped(v, norm_bound=bound, mode=mode, warmup_iterations=300)
    w, slope = kernel_and_gradient(wrapper, values(1))
    sigma = np.linalg.norm(v, 2)
    factor = bound / sigma
    if mode == "bound" and sigma < bound:
        assert np.abs(w - v).max() <= NEAR
        assert np.abs(slope - values(1)).max() <= NEAR
    else:
        assert error(w, v * factor) <= NEAR
        u, _, right = np.linalg.svd(v)
        expected = oracle.spectral_gradient(v, values(1), u[:, 0], right[0])
        # Also of vectors that 300 steps have left.
        assert error(slope, bound * expected) <= 10 * NEAR
    assert wrapper.violations()["kernel"] <= 1e-4 * bound


@pytest.mark.parametrize("kind, groups", [("grouped", 2), ("depthwise", 4)])
def test_one_matrix_for_each_group(kind, groups):
    wrapper = kn.layers.SpectralNormalization(
        built(kind), per_conv_group=True, warmup_iterations=100
    )
    wrapper.build((None, *KINDS[kind][1]))
    v = array(wrapper.layer.kernel)
    w = oracle.by_matrix(
        v,
        LABELS[kind]["kernel"],
        lambda m: m / np.linalg.norm(m, 2),
        groups,
    )
    assert error(array(wrapper.effective_kernel()), w) <= 1e-4
    assert wrapper.vector_u.shape[0] == groups
    assert wrapper.violations()["kernel"] <= 1e-4


def test_gradient_through_the_convolution():
    layer = layers.Conv2D(3, 2, strides=2, padding="same", use_bias=False)
    wrapper = kn.layers.SpectralNormalization(
        layer, method="convolution", warmup_iterations=3, seed=1
    )
    wrapper.build((None, 5, 4, 2))
    upstream = values(1, (2, 2, 2, 3))
    v = array(layer.kernel).astype("float64")
    basis = np.eye(40, dtype="float32").reshape(40, 5, 4, 2)

    def matrix(kernel):
        layer.kernel.assign(kernel)
        return array(layer(basis)).reshape(40, -1).T.astype("float64")

    # The map is linear in the kernel: one matrix for each of its entries.
    parts = []
    for index in np.ndindex(*v.shape):
        one = np.zeros(v.shape)
        one[index] = 1
        parts.append(matrix(one))
    m = matrix(v)
    u = array(wrapper.vector_u).reshape(-1).astype("float64")
    sigma, u, right = oracle.spectral_vectors(m, u, 0)
    w, slope = kernel_and_gradient(wrapper, upstream)
    assert error(w, v / sigma) <= NEAR
    along = np.sum(upstream * v) / sigma
    by_sigma = np.array([u @ part @ right for part in parts])
    expected = (upstream - along * by_sigma.reshape(v.shape)) / sigma
    assert error(slope, expected) <= 3 * NEAR


@pytest.mark.parametrize("mode", ["divide", "bound"])
def test_right_inverse(mode):
    wrapper = wrapped(values(), mode=mode, warmup_iterations=100)
    w = 0.8 * array(wrapper.effective_kernel())
    wrapper.set_plain_weights([w, np.zeros(5)])
    found = array(wrapper.effective_kernel())
    expected = w if mode == "bound" else w / 0.8
    assert error(found, expected) <= 1e-4
    # What is above the bound comes down to it.
    wrapper.set_plain_weights([3 * w, np.zeros(5)])
    assert wrapper.violations()["kernel"] <= 1e-4


def test_errors():
    for options, message in [
        ({"power_iterations": 0}, "`power_iterations`"),
        ({"warmup_iterations": -1}, "`warmup_iterations`"),
        ({"norm_bound": 0.0}, "`norm_bound` must be positive"),
        ({"mode": "bounded"}, "Did you mean 'bound'"),
        ({"method": "conv"}, "`method` must be one of"),
    ]:
        with pytest.raises(ValueError, match=message):
            kn.layers.SpectralNormalization(layers.Dense(2), **options)
