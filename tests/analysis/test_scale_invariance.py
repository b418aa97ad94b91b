"""Invariant kernels, and the numbers of one that is not."""

import sys

import keras
import numpy as np
import pytest

import keras_norm as kn
from contract.method import numpy

scale_invariance = kn.analysis.scale_invariance
RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 5)).astype("float32")
Y = RNG.normal(size=(8, 2)).astype("float32")


def init(seed):
    return keras.initializers.RandomNormal(stddev=0.7, seed=seed)


def test_which_kernels_are_invariant():
    """By neuron behind BN and in WN, as a whole behind LN, not at the end."""
    layers = keras.layers

    def dense(units, seed, **options):
        return layers.Dense(units, kernel_initializer=init(seed), **options)

    model = keras.Sequential(
        [
            keras.Input((5,)),
            dense(4, 0, kernel_regularizer="l2"),
            kn.layers.BatchNormalization(epsilon=1e-7),
            layers.Activation("tanh"),
            dense(4, 1, use_bias=False),
            kn.layers.LayerNormalization(epsilon=1e-7),
            kn.layers.WeightNormalization(dense(3, 2)),
            dense(2, 3),
        ]
    )
    before = [numpy(v).copy() for v in model.variables]
    found = scale_invariance(model, X, Y, "mse", tolerance=1e-3)
    assert [k.invariant for k in found] == [True, True, True, False]
    assert [k.by_neuron for k in found] == [True, False, True, False]
    # Rounding alone is left: some tens of units of 2^-24 of what cancels.
    for kernel in found[:3]:
        assert np.max(kernel.output_change) <= 1e-5
        assert np.max(kernel.gradient_error) <= 1e-4
        assert abs(kernel.cosine) <= 1e-4
    assert np.max(np.abs(found[1].neuron_cosines)) > 0.05
    for old, new in zip(before, model.variables, strict=True):
        assert np.array_equal(old, numpy(new))
    # At inference the moving statistics do not follow the kernel.
    first = model.layers[0].kernel
    (fixed,) = scale_invariance(
        model, X, Y, "mse", (2.0,), [first], training=False
    )
    assert fixed.name == first.path and not fixed.invariant


def test_numbers_of_linear_regression():
    """y = x w: g(a w) = 2 / (N k) X^T (a X w - Y)."""
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(2, use_bias=False, kernel_initializer=init(4)),
        ]
    )
    model.compile(keras.optimizers.SGD(0.5), loss="mse")
    w = numpy(model.weights[0]).astype("float64")

    def gradient(factor):
        return 2 / Y.size * X.T @ (factor * X @ w - Y)

    (found,) = scale_invariance(model, X, Y, factors=(0.5, 2.0))
    g, length = gradient(1.0), np.linalg.norm
    error = [length(a * gradient(a) - g) / length(g) for a in (0.5, 2.0)]
    np.testing.assert_allclose(found.output_change, [0.5, 1.0], rtol=1e-5)
    np.testing.assert_allclose(found.gradient_error, error, rtol=1e-4)
    cosines = np.sum(w * g, 0) / np.sqrt(np.sum(w**2, 0) * np.sum(g**2, 0))
    np.testing.assert_allclose(found.neuron_cosines, cosines, atol=1e-5)
    cosine = np.sum(w * g) / (length(w) * length(g))
    assert abs(found.cosine - cosine) <= 1e-5
    rate = 0.5 / np.sum(w**2)
    assert abs(found.effective_learning_rate - rate) <= 1e-5 * rate
    assert not found.invariant


def test_plot(monkeypatch):
    pytest.importorskip("matplotlib").use("Agg")
    entry = kn.analysis.KernelInvariance(
        "dense/kernel", 1.0, np.zeros(2), np.ones(2), 0.5, np.zeros(3), None,
        False, False,
    )  # fmt: skip
    result = kn.analysis.ScaleInvariance([entry])
    axes = result.plot()
    assert result.plot(axes) is axes
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="needs matplotlib: pip install"):
        result.plot()


@pytest.mark.once
@pytest.mark.parametrize(
    "options, message",
    [
        ({"factors": (1.0, 0.0)}, "`factors` must be positive"),
        ({"variables": ["kernel"]}, "`variables` must be one of"),
        ({"variables": [keras.Variable([1.0])]}, "gradients of the model"),
        ({"loss": None}, "`loss` must be given"),
    ],
)
def test_errors(options, message):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=message):
        scale_invariance(model, X, Y, **{"loss": "mse", **options})
    with pytest.raises(ValueError, match="`model` must be built"):
        scale_invariance(keras.Sequential([keras.layers.Dense(2)]), X, Y)
