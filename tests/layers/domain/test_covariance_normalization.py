"""Covariance normalization: what is fitted, what is multiplied, errors."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from contract.tolerances import close
from gradients import gradients


def numpy(t):
    return keras.ops.convert_to_numpy(t)


def correlated(shape, rank=None, seed=0):
    """Data whose channels depend on each other, far from zero mean."""
    rng = np.random.default_rng(seed)
    c = shape[-1]
    mix = rng.normal(size=(rank or c, c))
    x = rng.normal(size=(*shape[:-1], rank or c)) @ mix
    return (x + rng.normal(size=c)).astype("float32")


def adapter_of(shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape", [(200, 8), (20, 4, 3, 8)])
@pytest.mark.parametrize("units", [8, 5])
def test_all_components_are_the_adapter(shape, units):
    x, adapter = correlated(shape), adapter_of((8, units))
    z = x @ adapter + np.float32(3.0)
    layer = kn.tools.fit_covariance_normalization(x, z, adapter, 1.0)
    # The condition of the covariance's root multiplies what is rounded.
    condition = np.linalg.cond(x.reshape(-1, 8) - x.reshape(-1, 8).mean(0))
    y = numpy(layer(x))
    close(y, z, entries=64 * condition**2)
    # It is the adapter for other inputs too.
    other = correlated(shape, seed=7)
    expected = other @ adapter + np.float32(3.0)
    close(numpy(layer(other)), expected, entries=64 * condition**2)


def test_what_is_fitted_whitens_and_colors():
    x, adapter = correlated((500, 8)), adapter_of((8, 6))
    z = x @ adapter
    layer = kn.tools.fit_covariance_normalization(x, z, adapter, 0.9)
    inner = numpy(layer.whitening).shape[1]
    outer = numpy(layer.coloring).shape[0]
    for data, kept in ((x, inner), (z, outer)):
        values = np.linalg.eigvalsh(np.cov(data.T, bias=True))[::-1]
        shares = np.cumsum(values) / values.sum()
        assert shares[kept - 1] >= 0.9
        assert kept == 1 or shares[kept - 2] < 0.9
    white = (x - numpy(layer.input_mean)) @ numpy(layer.whitening)
    found = white.T @ white / len(white)
    np.testing.assert_allclose(found, np.eye(inner), atol=1e-3)
    colored = numpy(layer.coloring)
    found = colored.T @ colored
    covariance = np.cov(z.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    vectors, values = vectors[:, -outer:], values[-outer:]
    expected = (vectors * values) @ vectors.T
    np.testing.assert_allclose(found, expected, atol=1e-4 * values[-1])
    np.testing.assert_allclose(numpy(layer.output_mean), z.mean(0), atol=1e-4)


def test_data_of_few_dimensions_need_few_components():
    x, adapter = correlated((300, 8), rank=3), adapter_of((8, 8))
    z = x @ adapter
    layer = kn.tools.fit_covariance_normalization(x, z, adapter, 0.999999)
    assert numpy(layer.whitening).shape == (8, 3)
    close(numpy(layer(x)), z, entries=x.size)
    # Two matrices then do the work of the adapter.
    shapes = [tuple(m.shape) for m in layer.matrices()]
    assert shapes == [(8, 3), (3, 8)]
    # And all of the rest can be kept: constants, not infinities.
    whole = kn.tools.fit_covariance_normalization(x, z, adapter, 1.0)
    np.testing.assert_allclose(numpy(whole(x)), z, atol=1e-2)


@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_adapters_of_keras(kind):
    x = correlated((20, 4, 3, 8))
    adapter = keras.layers.Dense(5, bias_initializer="ones")
    if kind == "convolution":
        adapter = keras.layers.Conv2D(5, 1, bias_initializer="ones")
    z = numpy(adapter(x))
    layer = kn.tools.fit_covariance_normalization(x, None, adapter, 1.0)
    condition = np.linalg.cond(x.reshape(-1, 8) - x.reshape(-1, 8).mean(0))
    close(numpy(layer(x)), z, entries=64 * condition**2)
    given = kn.tools.fit_covariance_normalization(x, z, adapter, 1.0)
    np.testing.assert_allclose(
        numpy(given.output_mean), numpy(layer.output_mean), atol=1e-4
    )


def test_channels_first():
    x, adapter = correlated((20, 4, 3, 8)), adapter_of((8, 5))
    first = np.moveaxis(x, -1, 1)
    z = np.moveaxis(x @ adapter, -1, 1)
    layer = kn.tools.fit_covariance_normalization(
        first, z, adapter, 0.9, axis=1, name="adapter"
    )
    same = kn.tools.fit_covariance_normalization(x, x @ adapter, adapter, 0.9)
    y = numpy(layer(first))
    assert layer.name == "adapter"
    assert y.shape == tuple(layer.compute_output_shape(first.shape))
    close(np.moveaxis(y, 1, -1), numpy(same(x)), entries=x.size)


def test_only_the_kernel_learns():
    x, adapter = correlated((20, 8)), adapter_of((8, 8))
    layer = kn.tools.fit_covariance_normalization(x, None, adapter, 0.9)
    upstream = np.random.default_rng(0).normal(size=x.shape)
    found = gradients(layer, [x], upstream)
    assert list(found.weights) == ["kernel"]
    white = (x - numpy(layer.input_mean)) @ numpy(layer.whitening)
    expected = white.T @ upstream @ numpy(layer.coloring).T
    close(found.weights["kernel"], expected, entries=x.size)


def test_a_layer_that_is_not_fitted_is_the_identity():
    x = correlated((20, 8))
    layer = kn.layers.CovarianceNormalization()
    close(numpy(layer(x)), x)


@pytest.mark.parametrize(
    "change, text",
    [
        ({"explained": 0.0}, "`explained`"),
        ({"explained": 1.5}, "`explained`"),
        ({"adapter": np.ones((3, 3, 8, 8))}, "`adapter`"),
        ({"adapter": keras.layers.ReLU()}, "`adapter`"),
        ({"x": np.ones((20, 5))}, "`x` must have 8 channels"),
        ({"z": np.ones((20, 5))}, "`z` must have 8 channels"),
        ({"x": np.ones((20, 8))}, "`x` must vary"),
    ],
    ids=str,
)
def test_errors_of_the_fit(change, text):
    x = correlated((20, 8))
    given = {"x": x, "z": x, "adapter": np.eye(8), **change}
    with pytest.raises(ValueError, match=text):
        kn.tools.fit_covariance_normalization(**given)


@pytest.mark.parametrize(
    "name", ["units", "input_components", "output_components"]
)
def test_sizes_are_positive(name):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer"):
        kn.layers.CovarianceNormalization(**{name: 0})
