"""Whitening and coloring transform: identities, singular covariances, masks.

Tolerances: a direction whose eigenvalue is 1/k of the largest is known to k
times the resolution of float32; `LOSS` is the margin for sums and products.
"""

import keras
import numpy as np
import pytest

from gradients import gradients
from gradients import inference
from keras_norm.areas import Area
from keras_norm.layers import AdaptiveInstanceNormalization
from keras_norm.layers import ComposedNormalization
from keras_norm.layers import WhiteningColoringTransform
from keras_norm.operations import WhitenContent
from keras_norm.recoveries import ColorByStyle
from oracles.style import whitening_coloring_transform as oracle

METHODS = ("eigh", "newton", "cholesky")
JAX = keras.backend.backend() == "jax"
RESOLUTION = 2.0**-23
LOSS = 30.0


def content(*shape, seed=0, mean=0.0):
    """Correlated channels, last: float32."""
    rng = np.random.default_rng(seed)
    channels = shape[-1]
    turn, _ = np.linalg.qr(rng.normal(size=(channels, channels)))
    mix = turn * np.geomspace(1.0, 0.3, channels)
    return (rng.normal(size=shape) @ mix.T + mean).astype("float32")


def run(x, style, mask=None, **options):
    layer = WhiteningColoringTransform(**options)
    layer.build([x.shape, style.shape])
    return inference(layer, [[x, style]], mask=mask)


def reference(x, style, mask=None, **options):
    return oracle([x, style], options, {}, {}, False, mask)[0]


def covariances(t):
    flat = np.reshape(t, (len(t), -1, t.shape[-1])).astype("float64")
    return np.stack([np.cov(sample.T) for sample in flat])


def close(a, b, tolerance):
    error = np.max(np.abs(a - b)) / max(1.0, np.max(np.abs(b)))
    assert error <= tolerance, error


# Identities -------------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.0, 1e4])
@pytest.mark.parametrize("whitening", METHODS)
def test_moments_are_those_of_the_style(whitening, mean):
    x = content(2, 9, 8, 5, mean=mean)
    style = content(2, 7, 11, 5, seed=1, mean=0.3)
    y = run(x, style, whitening=whitening, threshold=1e-7)
    close(covariances(y), covariances(style), 1e-4)
    close(y.mean((1, 2)), style.mean((1, 2)), 1e-5)


@pytest.mark.parametrize("whitening", METHODS)
def test_own_style_changes_nothing(whitening):
    x = content(5, 6, 5, 4)
    # Far from zero, three different positions only, dependent channels.
    x[1] += 1e4
    x[2] = x[2, 0, np.arange(30).reshape(6, 5) % 3]
    x[3, ..., 1], x[4, ..., 1] = x[3, ..., 0], 2.0
    y = run(x, x, whitening=whitening)
    close(y, x, RESOLUTION)
    close(np.delete(y, 1, 0), np.delete(x, 1, 0), LOSS * RESOLUTION * 30)


@pytest.mark.parametrize("whitening", METHODS)
def test_one_channel_is_adaptive_instance_normalization(whitening):
    x, style = content(2, 6, 5, 1), content(2, 3, 4, 1, seed=1, mean=2.0)
    layer = AdaptiveInstanceNormalization(epsilon=0.0, unbiased=True)
    expected = keras.ops.convert_to_numpy(layer(x, style))
    close(run(x, style, whitening=whitening, threshold=0.0), expected, 1e-5)


def test_eigenvalues_and_newton_steps_agree():
    x, style = content(2, 9, 8, 5), content(2, 7, 6, 5, seed=1)
    a, b = (run(x, style, whitening=m, threshold=1e-7) for m in METHODS[:2])
    close(a, b, 1e-4)


def test_composed():
    x, style = content(2, 6, 5, 4), content(2, 4, 4, seed=1)
    layer = ComposedNormalization(
        area=Area("each", "each"),
        operation=WhitenContent(),
        recovery=ColorByStyle(),
        epsilon=0.0,
    )
    layer.build([x.shape, style.shape])
    y = inference(layer, [[x, style]])
    np.testing.assert_array_equal(y, run(x, style))


def test_alpha_blends():
    x, style = content(2, 6, 5, 4), content(2, 6, 5, 4, seed=1)
    whole = run(x, style)
    close(run(x, style, alpha=0.25), 0.25 * whole + 0.75 * x, 1e-6)


# Sizes ------------------------------------------------------------------------


def test_style_of_another_rank_and_channels_first():
    x, style = content(2, 6, 5, 4), content(2, 13, 4, seed=1)
    expected = reference(x, style)
    close(run(x, style), expected, LOSS * RESOLUTION * 30)
    first = [np.moveaxis(a, -1, 1) for a in (x, style)]
    y = run(*first, axis=1)
    close(np.moveaxis(y, 1, -1), expected, LOSS * RESOLUTION * 30)


# Hard inputs ------------------------------------------------------------------


def hard():
    """Samples with channels that are constant or the same, or few positions."""
    x = content(3, 5, 6)
    x[1, :, 1], x[1, :, 3] = x[1, :, 0], 2.0
    x[2] = 3.0
    return x


@pytest.mark.parametrize("whitening", METHODS)
def test_singular_covariances(whitening):
    # What is added bounds the condition of the other two.
    threshold = 1e-5 if whitening == "eigh" else 1e-2
    options = {"whitening": whitening, "threshold": threshold}
    full = content(3, 30, 6, seed=1, mean=1.0)
    x = np.concatenate([hard(), hard()])
    style = np.concatenate([full[:, :5], np.roll(hard(), 1, 0)])
    for a, b in ((x, style), (full, hard())):
        expected = reference(a, b, **options)
        close(run(a, b, **options), expected, LOSS * RESOLUTION * 300)


@pytest.mark.parametrize("whitening", METHODS)
def test_gradients_of_singular_covariances_are_finite(whitening):
    x = np.concatenate([hard(), hard()])
    style = np.concatenate([content(3, 5, 6, seed=1), np.roll(hard(), 1, 0)])
    upstream = np.random.default_rng(2).normal(size=x.shape)
    layer = WhiteningColoringTransform(whitening=whitening)
    found = gradients(layer, [[x, style]], upstream, jit=JAX)
    for t in (found.outputs, *found.inputs[0]):
        assert np.all(np.isfinite(t))


@pytest.mark.parametrize("whitening", METHODS)
def test_equal_eigenvalues(whitening):
    # Orthonormal columns: the covariance is a multiple of I.
    rng = np.random.default_rng(3)
    q, _ = np.linalg.qr(np.c_[np.ones(16), rng.normal(size=(16, 4))])
    x = np.stack([q[:, 1:], q[::-1, 1:]]).astype("float32") * 4.0
    style = content(2, 9, 4)
    upstream = rng.normal(size=x.shape)
    layer = WhiteningColoringTransform(whitening=whitening)
    found = gradients(layer, [[x, style]], upstream, jit=JAX)
    options = {"whitening": whitening}
    close(found.outputs, reference(x, style, **options), 1e-5)
    of_both = found.inputs[0]
    along = [rng.normal(size=gradient.shape) for gradient in of_both]

    def moved(h):
        both = (t + h * a for t, a in zip((x, style), along, strict=True))
        return reference(*both, **options)

    slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
    size = [np.sum(g * a) for g, a in zip(of_both, along, strict=True)]
    assert abs(sum(size) - np.sum(slope * upstream)) < 1e-3 * max(np.abs(size))


@pytest.mark.parametrize("whitening", METHODS)
def test_condition_of_a_million(whitening):
    rng = np.random.default_rng(4)
    scales = np.geomspace(1.0, 1e-3, 5)
    x = (rng.normal(size=(1, 200, 5)) * scales).astype("float32")
    style = content(1, 200, 5, seed=1)
    options = {"whitening": whitening, "threshold": 1e-4}
    y = run(x, style, **options)
    close(y, reference(x, style, **options), 2e-3)
    upstream = rng.normal(size=x.shape)
    layer = WhiteningColoringTransform(**options)
    found = gradients(layer, [[x, style]], upstream, jit=JAX)
    for gradient in found.inputs[0]:
        assert np.all(np.isfinite(gradient))


# Masks ------------------------------------------------------------------------


def test_masks_of_content_and_style():
    x, style = content(2, 16, 3), content(2, 20, 3, seed=1)
    seen, used = np.arange(16) < 12, np.arange(20) >= 5
    expected = run(x[:, seen], style[:, used])
    x[:, ~seen], style[:, ~used] = np.nan, np.nan
    masks = [np.tile(seen, (2, 1)), np.tile(used, (2, 1))]
    layer = WhiteningColoringTransform()
    y = keras.ops.convert_to_numpy(layer([x, style], mask=masks))
    close(y[:, seen], expected, 1e-5)
    x[:, ~seen] = 0.0
    only = keras.ops.convert_to_numpy(layer(x, style[:, used], mask=masks[0]))
    close(only[:, seen], expected, 1e-5)


def test_masks_of_a_model():
    x, style = content(2, 16, 3), content(2, 20, 3, seed=1)
    x[:, 12:], style[:, 15:] = 0.0, 0.0
    inputs = [keras.Input((16, 3)), keras.Input((20, 3))]
    masked = [keras.layers.Masking()(t) for t in inputs]
    model = keras.Model(inputs, WhiteningColoringTransform()(masked))
    y = keras.ops.convert_to_numpy(model([x, style]))
    close(y[:, :12], run(x[:, :12], style[:, :15]), 1e-5)


# Errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"content_shift": -1.0},
        {"threshold": -1e-5},
        {"iterations": 0},
        {"whitening": "eig"},
    ],
    ids=str,
)
def test_values_that_make_no_sense(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}` must .*Received: {name}="):
        WhiteningColoringTransform(**options)


@pytest.mark.parametrize(
    "shapes", [[(2, 4), (2, 5, 4)], [(2, 5, 4), (2, 4)]], ids=str
)
def test_positions_are_needed(shapes):
    with pytest.raises(ValueError, match="at least rank 3"):
        WhiteningColoringTransform().build(shapes)
