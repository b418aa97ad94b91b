"""Group-wise deep whitening and coloring: what is generated, what is lost."""

import keras
import numpy as np
import pytest

from gradients import gradients
from gradients import inference
from keras_norm.layers import AdaptiveInstanceNormalization
from keras_norm.layers import GroupwiseWhiteningColoring
from keras_norm.layers import InstanceNormalization
from oracles.style import groupwise_losses
from oracles.style import groupwise_whitening_coloring as oracle

JAX = keras.backend.backend() == "jax"
SMALL = {"groups": 2, "units": 5, "coloring_layers": 3, "mean_layers": 2}


def data(*shape, seed=0, mean=0.3):
    values = np.random.default_rng(seed).normal(mean, 1.0, shape)
    return values.astype("float32")


def given(x, matrices, mean, **options):
    """The output for matrices and means that come from elsewhere."""
    layer = GroupwiseWhiteningColoring(groups=matrices.shape[1], **options)
    inputs = [x, matrices, mean]
    layer.build([t.shape for t in inputs])
    return inference(layer, [inputs])


def losses(layer):
    return [float(keras.ops.convert_to_numpy(t)) for t in layer.losses]


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("area", ["instance", "batch"])
def test_matrices_and_means_given(area, axis):
    x, matrices = data(3, 4, 5, 6), data(3, 2, 3, 3, seed=1)
    mean = data(3, 6, seed=2)
    config = {"groups": 2, "area": area}
    expected, _ = oracle([x, matrices, mean], config, {}, {}, False)
    y = given(np.moveaxis(x, -1, axis), matrices, mean, area=area, axis=axis)
    np.testing.assert_allclose(np.moveaxis(y, axis, -1), expected, atol=1e-5)


def test_groups_of_one_channel_scale_by_what_is_given():
    # M = sigma: M D^-1 M^T = |sigma|.
    x, mean = data(2, 4, 5, 3), data(2, 3, seed=2)
    sigma = data(2, 3, seed=3)
    centred = x - x.mean((1, 2), keepdims=True)
    adaptive = AdaptiveInstanceNormalization("generated", epsilon=0.0)
    expected = adaptive(centred, np.abs(sigma) * x.std((1, 2)), mean)
    y = given(x, sigma[..., None, None], mean, alpha_initializer=1.0)
    expected = keras.ops.convert_to_numpy(expected)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_orthogonal_matrices_of_length_one_color_nothing():
    x, mean = data(2, 4, 5, 6), np.zeros((2, 6), "float32")
    turn, _ = np.linalg.qr(data(2, 2, 3, 3))
    y = given(x, turn, mean, alpha_initializer=1.0)
    np.testing.assert_allclose(y, x - x.mean((1, 2), keepdims=True), atol=1e-5)


def test_alpha_zero_is_the_content():
    x = data(2, 4, 5, 6)
    layer = GroupwiseWhiteningColoring(**SMALL, alpha_initializer=0.0)
    y = keras.ops.convert_to_numpy(layer(x, data(2, 4)))
    np.testing.assert_allclose(y, x, atol=1e-6)


def test_zero_matrices_have_finite_gradients():
    x, matrices, mean = data(2, 5, 4), np.zeros((2, 2, 2, 2)), data(2, 4)
    layer = GroupwiseWhiteningColoring(groups=2)
    inputs = [x, matrices.astype("float32"), mean]
    found = gradients(layer, [inputs], data(2, 5, 4, seed=1), jit=JAX)
    for t in (found.outputs, *found.inputs[0]):
        assert np.all(np.isfinite(t))


# Losses -----------------------------------------------------------------------


@pytest.mark.parametrize("area", ["instance", "batch"])
def test_losses(area):
    x, matrices = data(3, 9, 6), data(3, 2, 3, 3, seed=1)
    layer = GroupwiseWhiteningColoring(
        groups=2, area=area, whitening_weight=0.5, coloring_weight=2.0
    )
    layer(x, matrices, data(3, 6), training=True)
    config = {"groups": 2, "area": area}
    white, orthogonal = groupwise_losses(x, matrices, config)
    expected = [0.5 * white, 2.0 * orthogonal]
    np.testing.assert_allclose(losses(layer), expected, rtol=1e-5)
    layer(x, matrices, data(3, 6))
    assert not layer.losses


def test_no_losses_of_white_content_and_orthogonal_matrices():
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(np.c_[np.ones(12), rng.normal(size=(12, 6))])
    x = (q[None, :, 1:] * np.sqrt(11)).astype("float32")
    turn, _ = np.linalg.qr(data(1, 2, 3, 3))
    layer = GroupwiseWhiteningColoring(groups=2, epsilon=0.0)
    layer(x, 3.0 * turn, data(1, 6), training=True)
    np.testing.assert_allclose(losses(layer), [0, 0], atol=1e-5)


@pytest.mark.parametrize("weight", ["whitening_weight", "coloring_weight"])
def test_weight_zero_is_no_loss(weight):
    layer = GroupwiseWhiteningColoring(**SMALL, **{weight: 0.0})
    layer(data(2, 5, 6), data(2, 4), training=True)
    assert len(layer.losses) == 1
    layer.trainable = False
    layer(data(2, 5, 6), data(2, 4), training=True)
    assert not layer.losses


def test_masked_entries_take_no_part_in_the_losses():
    x, style = data(2, 9, 6), data(2, 4)
    layer = GroupwiseWhiteningColoring(**SMALL)
    layer(x[:, :7], style, training=True)
    expected = losses(layer)
    x[:, 7:] = np.nan
    mask = np.tile(np.arange(9) < 7, (2, 1))
    layer(x, style, training=True, mask=mask)
    np.testing.assert_allclose(losses(layer), expected, rtol=1e-5)


def test_fit_whitens_what_comes_before():
    rng = np.random.default_rng(0)
    mix = np.array([[1.5, 0.6], [0.0, 1.2]])
    x = (rng.normal(size=(64, 20, 2)) @ mix).astype("float32")
    style = rng.normal(size=(64, 2)).astype("float32")
    inputs = [keras.Input((20, 2)), keras.Input((2,))]
    before = keras.layers.Dense(2, kernel_initializer="identity")
    layer = GroupwiseWhiteningColoring(
        groups=1, area="batch", whitening_weight=1.0, coloring_weight=0.0
    )
    model = keras.Model(inputs, layer([before(inputs[0]), inputs[1]]))
    # Of the losses alone: the output has no part in it.
    model.compile(
        keras.optimizers.Adam(0.02),
        loss=lambda y, found: 0.0 * keras.ops.mean(found),
    )
    history = model.fit([x, style], x, epochs=100, batch_size=64, verbose=0)
    assert history.history["loss"][-1] < 0.2 * history.history["loss"][0]
    white = keras.ops.convert_to_numpy(before(x)).reshape(-1, 2)
    off = np.abs(np.cov(white.T) - np.eye(2)).max()
    assert (
        off < 0.2 < 0.8 < np.abs(np.cov(x.reshape(-1, 2).T) - np.eye(2)).max()
    )


def test_area_says_whether_samples_mix():
    x, style = data(4, 5, 6), data(4, 4)
    for area, alone in (("instance", True), ("batch", False)):
        layer = GroupwiseWhiteningColoring(**SMALL, area=area)
        whole = keras.ops.convert_to_numpy(layer(x, style))
        one = keras.ops.convert_to_numpy(layer(x[:1], style[:1]))
        assert np.allclose(whole[:1], one, atol=1e-5) == alone


def test_instance_normalized_content_has_no_mean_to_lose():
    x, style = data(2, 5, 6), data(2, 4)
    white = keras.ops.convert_to_numpy(InstanceNormalization()(x))
    layer = GroupwiseWhiteningColoring(**SMALL, alpha_initializer=1.0)
    a, b = layer(white, style), layer(white + 7.0, style)
    a, b = (keras.ops.convert_to_numpy(t) for t in (a, b))
    np.testing.assert_allclose(a, b, atol=1e-5)


# Errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"units": 0},
        {"coloring_layers": 0},
        {"mean_layers": 1.5},
        {"area": "bach"},
        {"whitening_weight": -1.0},
        {"coloring_weight": -1.0},
    ],
    ids=str,
)
def test_values_that_make_no_sense(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}` must .*Received: {name}="):
        GroupwiseWhiteningColoring(**options)


@pytest.mark.parametrize(
    "shapes,text",
    [
        ([(2, 5, 9), (2, 8)], "`groups` must divide the number of channels"),
        ([(2, 5, 8), (2, 5)], "`style` must be .* multiple of the groups"),
        ([(2, 5, 8), (2, 5, 8)], "`style` must be"),
        ([(2, 8), (2, 8)], "at least rank 3"),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(shapes, text):
    with pytest.raises(ValueError, match=text):
        GroupwiseWhiteningColoring(groups=2).build(shapes)
