"""Maps of single neurons: identities, hard kernels, the way back."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from layers.weights.effective import array
from layers.weights.effective import effective
from layers.weights.kinds import batch
from layers.weights.kinds import built

# Rounding of sums of some ten float32 entries.
ROUNDING = 3e-6
SCALED = [
    "WeightNormalization",
    "CenteredWeightNormalization",
    "WeightStandardization",
    "ScaledWeightStandardization",
]
CENTRED = [*SCALED[1:], "WeightCentralization"]
ALL = [SCALED[0], *CENTRED]
# The least a length is compared with must not act on kernels of length 1.
NO_EPSILON = {"epsilon": 0.0}


def wrapped(method, v, **options):
    """A wrapper around a dense layer with this kernel."""
    layer = layers.Dense(v.shape[1])
    layer.build((None, v.shape[0]))
    layer.set_weights([v, np.zeros(v.shape[1])])
    wrapper = getattr(kn.layers, method)(layer, **options)
    wrapper.build((None, v.shape[0]))
    return wrapper


def values(seed=0, shape=(9, 5)):
    return np.random.default_rng(seed).standard_normal(shape)


def derived(method, v, upstream, **options):
    """(effective kernel, its derivative by the free one)."""
    found = effective(wrapped(method, v, **options), [upstream])
    return found.kernels["kernel"], found.kernel_gradients["kernel"]


@pytest.mark.parametrize("factor", [1e-3, 0.5, 1e4])
@pytest.mark.parametrize("method", SCALED)
def test_length_of_a_neuron_does_not_matter(method, factor):
    v, upstream = values(), values(1)
    options = {**NO_EPSILON, "scale_initializer": "ones"}
    w, slope = derived(method, v, upstream, **options)
    factors = np.array([factor, 1, 1, factor, 1])
    scaled, smaller = derived(method, v * factors, upstream, **options)
    assert np.abs(scaled - w).max() <= ROUNDING
    assert np.abs(smaller * factors - slope).max() <= 5 * ROUNDING
    # The gradient is perpendicular to the neuron.
    along = np.abs(np.sum(slope * v, axis=0))
    lengths = np.linalg.norm(slope, axis=0) * np.linalg.norm(v, axis=0)
    assert (along <= ROUNDING * lengths).all()


@pytest.mark.parametrize("method", CENTRED)
def test_mean_of_a_neuron_does_not_matter(method):
    v, upstream = values(), values(1)
    w, slope = derived(method, v, upstream)
    moved, same = derived(method, v + np.arange(5), upstream)
    assert np.abs(moved - w).max() <= 3 * ROUNDING
    assert np.abs(same - slope).max() <= 10 * ROUNDING
    assert np.abs(np.sum(w, axis=0)).max() <= ROUNDING
    assert np.abs(np.sum(slope, axis=0)).max() <= ROUNDING * np.abs(slope).max()


@pytest.mark.parametrize(
    "method, length",
    [
        ("WeightNormalization", 1),
        ("CenteredWeightNormalization", 1),
        ("WeightStandardization", 3),
        ("ScaledWeightStandardization", 1),
    ],
)
def test_lengths(method, length):
    w, _ = derived(method, values(), values(1), scale_initializer="ones")
    assert np.abs(np.linalg.norm(w, axis=0) - length).max() <= 1e-4


def test_the_whole_kernel_as_one_neuron():
    wrapper = wrapped("WeightNormalization", values(), axis=())
    assert wrapper.g.shape == ()
    assert abs(array(wrapper.g) - np.linalg.norm(values())) <= 1e-5
    wrapper.g.assign(2.0)
    w = array(wrapper.effective_kernel())
    assert abs(np.linalg.norm(w) - 2) <= ROUNDING


@pytest.mark.parametrize(
    "method, options",
    [(method, {}) for method in SCALED]
    + [(method, {"epsilon": 0.0}) for method in SCALED]
    + [
        ("WeightNormalization", {"epsilon": 0.0, "epsilon_place": place})
        for place in ("inside", "outside")
    ],
)
def test_neurons_of_zeros(method, options):
    v, upstream = values(), values(1)
    whole = derived(method, v, upstream, **options)
    v[:, 2] = 0
    for kernel in (v, 0 * v):
        found = derived(method, kernel, upstream, **options)
        assert all(np.isfinite(array).all() for array in found)
        assert not found[0][:, 2].any()
        if kernel.any():
            # What is no zero is not touched by it.
            others = [0, 1, 3, 4]
            for one, other in zip(found, whole, strict=True):
                near = np.abs(one - other)[:, others].max()
                assert near <= ROUNDING * np.abs(other).max()


def test_neurons_at_the_least_length():
    # Where the clamp acts the map is linear: no gradient goes through it.
    v, upstream = 0.01 * values(), values(1)
    for method, options in [
        ("WeightNormalization", {"epsilon": 1.0, "scale_initializer": "ones"}),
        ("ScaledWeightStandardization", {"epsilon": 1.0}),
    ]:
        w, slope = derived(method, v, upstream, **options)
        centre = np.mean(v, 0), np.mean(upstream, 0)
        if method == "WeightNormalization":
            centre = 0, 0
        assert np.allclose(w, v - centre[0], atol=1e-8)
        assert np.allclose(slope, upstream - centre[1], atol=1e-6)


@pytest.mark.parametrize("method", CENTRED)
def test_neurons_of_one_input_are_refused(method):
    with pytest.raises(ValueError, match=r"at least 2 inputs.*fan_in=1"):
        wrapped(method, values(shape=(1, 5)))
    # Not where a norm alone is taken.
    wrapped("WeightNormalization", values(shape=(1, 5)))


@pytest.mark.parametrize("kind", ["conv2d", "depthwise", "lstm"])
@pytest.mark.parametrize("method", ALL)
def test_violation_and_right_inverse(method, kind):
    options = {} if method == "WeightNormalization" else {"scale": True}
    wrapper = getattr(kn.layers, method)(built(kind), **options)
    wrapper.build(batch(kind).shape)
    assert max(wrapper.violations().values()) <= 1e-4
    # A kernel that the map gives comes back; any other does not.
    effective_kernels = wrapper.effective_kernels()
    count = len(wrapper.layer.weights)
    values = [array(value) for value in wrapper.plain_values()[:count]]
    kernel = wrapper.kernels()[0]
    other = keras.ops.convert_to_tensor(kernel.value) + 0.1
    assert float(array(wrapper.violation(other, kernel))) > 0.05
    wrapper.set_plain_weights(values)
    again = wrapper.effective_kernels()
    for path, w in again.items():
        assert np.abs(array(w) - array(effective_kernels[path])).max() <= 1e-4


def test_right_inverse_keeps_the_length_of_a_neuron():
    wrapper = kn.layers.CenteredWeightNormalization(built("dense"))
    wrapper.build((None, 8))
    w = values(shape=(8, 6))
    w = w - np.mean(w, axis=0)
    wrapper.set_plain_weights([w, np.zeros(6)])
    assert np.abs(array(wrapper.effective_kernel()) - w).max() <= 1e-4
    # Without a scale the nearest is the direction.
    wrapper = kn.layers.CenteredWeightNormalization(built("dense"), scale=False)
    wrapper.build((None, 8))
    wrapper.set_plain_weights([w, np.zeros(6)])
    unit = w / np.linalg.norm(w, axis=0)
    assert np.abs(array(wrapper.effective_kernel()) - unit).max() <= 1e-4


def test_gamma_of_an_activation():
    # E relu(z)^2 - (E relu(z))^2 = 1/2 - 1/(2 pi)
    wrapper = kn.layers.ScaledWeightStandardization(
        built("dense"), gamma="relu"
    )
    wrapper.build((None, 8))
    gamma = (0.5 - 0.5 / np.pi) ** -0.5
    assert abs(wrapper.gain_of_activation - gamma) <= 1e-6
    w = array(wrapper.effective_kernel())
    assert np.abs(np.linalg.norm(w, axis=0) - gamma).max() <= 1e-5
    assert max(wrapper.violations().values()) <= 1e-5
    wrapper = kn.layers.ScaledWeightStandardization(
        built("dense"), gamma="tanh"
    )
    assert abs(wrapper.gain_of_activation - 1.5939) <= 3e-3
