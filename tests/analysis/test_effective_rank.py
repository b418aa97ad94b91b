"""Ranks of results of layers, where linear algebra knows them."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from tools.statistics_models import same
from tools.statistics_models import state

effective_rank = kn.analysis.effective_rank
# Singular values of float32 results.
TOLERANCE = 1e-6


def linear(*kernels):
    model = keras.Sequential(
        [keras.Input((len(kernels[0]),))]
        + [layers.Dense(k.shape[1], use_bias=False) for k in kernels]
    )
    model.set_weights(kernels)
    return model


def formulas(s):
    p = s[s > 0] / s.sum()
    return (
        np.sum(s**2) / s[0] ** 2,
        np.exp(-np.sum(p * np.log(p))),
        np.sum(s**2) ** 2 / np.sum(s**4),
    )


def test_collapse_of_a_linear_network():
    """With W = diag(1, 1/2, 0), layer l has singular values 1, 2^-l, 0."""
    found = effective_rank(
        linear(*[np.diag([1.0, 0.5, 0.0])] * 4), np.eye(3, dtype="float32")
    )
    for number, entry in enumerate(found, start=1):
        s = np.array([1.0, 0.5**number, 0.0])
        assert np.allclose(entry.singular_values, s, atol=TOLERANCE)
        assert entry.rank == 2
        assert np.allclose(entry[3:], formulas(s), atol=TOLERANCE)
    assert np.isclose(found[3].stable_rank, 1 + 4.0**-4)


def test_against_the_decomposition():
    """More samples than channels and fewer, centered and not."""
    random = np.random.default_rng(0)
    x = (random.normal(size=(5, 6)) + 2).astype("float32")
    kernels = random.normal(size=(6, 4)), random.normal(size=(4, 7))
    model = linear(*kernels)
    results = x @ kernels[0], x @ kernels[0] @ kernels[1]
    for center in (False, True):
        found = effective_rank(model, x, center=center)
        for entry, h in zip(found, results, strict=True):
            s = np.linalg.svd(h - center * h.mean(axis=0), compute_uv=False)
            assert np.allclose(entry.singular_values, s, atol=3e-6 * s[0])
            assert entry.rank == 4
            assert np.allclose(entry[3:], formulas(s[:4]), rtol=1e-5)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_positions(data_format):
    """Of one image: a row for each position, or one row."""
    first = data_format == "channels_first"
    model = keras.Sequential(
        [
            keras.Input((2, 3, 2) if first else (3, 2, 2)),
            layers.ZeroPadding2D(0, data_format=data_format, name="first"),
            layers.Activation("linear", name="second"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(3, 2, 2)).astype("float32")
    rows = np.reshape(x, (6, 2))
    given = (np.moveaxis(x, -1, 0) if first else x)[None]
    s = np.linalg.svd(rows, compute_uv=False)
    for entry in effective_rank(model, given):
        assert np.allclose(entry.singular_values, s, atol=1e-5)
    flat = effective_rank(model, given, "second", flatten=True)[0]
    assert np.allclose(flat.singular_values, [np.linalg.norm(x)])
    assert flat.rank == 1


def test_batch_normalization_keeps_the_rank():
    """Of a random linear network, as in the paper; state as it was."""
    random = np.random.default_rng(0)
    kernels = random.normal(size=(20, 6, 6)) / np.sqrt(6)
    x = random.normal(size=(32, 6))
    chain, plain, h = [keras.Input((6,))], x, x
    for kernel in kernels:
        initial = keras.initializers.Constant(kernel)
        chain.append(
            layers.Dense(6, use_bias=False, kernel_initializer=initial)
        )
        chain.append(kn.layers.BatchNormalization(epsilon=0.0))
        plain, h = plain @ kernel, h @ kernel
        h = (h - h.mean(axis=0)) / h.std(axis=0)
    model = keras.Sequential([*chain, layers.Dropout(0.5)])
    before = state(model)
    (last,) = effective_rank(model, x.astype("float32"), model.layers[-2])
    assert same(before, state(model))
    stable, effective, ratio = formulas(np.linalg.svd(h, compute_uv=False))
    assert np.allclose(last[3:], (stable, effective, ratio), rtol=1e-3)
    collapsed = formulas(np.linalg.svd(plain, compute_uv=False))
    assert collapsed[0] < 1.01 and collapsed[1] < 1.2 < 2.5 < effective


def test_zeros_and_calls_of_one_layer():
    x = keras.Input((3,))
    shared = layers.Dense(3, name="shared")
    model = keras.Model(x, shared(shared(x)))
    shared.kernel.assign(np.zeros((3, 3)))
    found = effective_rank(model, np.ones((2, 3), "float32"))
    assert [entry.name for entry in found] == ["shared", "shared (2)"]
    assert found[0][2:] == (0, 0.0, 0.0, 0.0)


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    found = effective_rank(linear(np.eye(3)), np.eye(3, dtype="float32"))
    axes = found.plot()
    assert found.plot(axes) is axes
    assert [t.get_text() for t in axes.get_xticklabels()] == [found[0].name]


def test_layers_within_others():
    """By name or class, also what is in a wrapper; not within loops."""
    inner = keras.Sequential(
        [
            keras.Input((4, 3)),
            kn.layers.WeightNormalization(layers.Dense(3, name="in")),
            layers.TimeDistributed(layers.Dense(2, name="each"), name="loop"),
        ],
        name="inner",
    )
    model = keras.Sequential([keras.Input((4, 3)), inner, layers.Flatten()])
    x = np.ones((2, 4, 3), "float32")
    wrapper = inner.layers[0].name
    names = [f"inner/{wrapper}", "inner/loop", "flatten"]

    def found(layers):
        return [entry.name for entry in effective_rank(model, x, layers)]

    assert found(None) == names
    inside = [f"inner/{wrapper}/in"]
    assert found("in") == inside == found(inside[0]) == found(layers.Dense)
    assert found([inner.layers[1], layers.Flatten]) == names[1:]
    assert found(lambda layer: layer.name == "loop") == names[1:2]
    with pytest.raises(ValueError, match="`layers` must be one of.*'each'"):
        found("each")
    with pytest.raises(ValueError, match="must have layers that can be"):
        found(layers.Conv2D)
    with pytest.raises(ValueError, match="`model` must be a built"):
        effective_rank(keras.Sequential([layers.Dense(3)]), x)
