"""Gammas times a factor, kernels behind them divided by it."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from tools import pruning_models as models
from tools.pruning_models import array
from tools.pruning_models import norm
from tools.pruning_models import outputs
from tools.pruning_models import shaken

rescale = kn.tools.rescale_gamma


def names(model, weight):
    return {
        x.name: array(getattr(x, weight)).copy()
        for x in model._flatten_layers()
        if getattr(x, weight, None) is not None
    }


def homogeneous():
    """Factors through sums, concatenation, kernels of all kinds."""
    image = keras.Input((8, 8, 2))
    x = norm(name="norm_stem")(layers.Conv2D(4, 3, padding="same")(image))
    y = layers.DepthwiseConv2D(3, padding="same")(layers.ReLU()(x))
    y = norm(name="norm_each")(y)
    x = layers.Add(name="sum")([x, y])
    z = layers.SeparableConv2D(4, 3)(layers.LeakyReLU()(x))
    z = layers.PReLU(shared_axes=[1, 2])(norm(name="norm_apart")(z))
    z = layers.ZeroPadding2D(1)(layers.Dropout(0.5)(z))
    x = layers.AveragePooling2D(2)(layers.Concatenate()([x, z]))
    x = norm(name="norm_up")(layers.Conv2DTranspose(3, 2)(x))
    x = layers.Flatten()(x)
    return keras.Model(image, layers.Dense(2, name="head")(x))


def test_keeps_the_function():
    """A power of 2 keeps it to the last bit, and it can be taken back."""
    model = shaken(homogeneous())
    before, weights = outputs(model), model.get_weights()
    gammas = names(model, "gamma")
    found = rescale(model, 2.0**-7)
    assert set(found) == set(gammas)
    for name, gamma in names(model, "gamma").items():
        assert np.array_equal(gamma, gammas[name] * np.float32(2.0**-7))
    after = outputs(model)
    assert np.abs(after - before).max() <= 1e-6 * np.abs(before).max()
    rescale(model, 2.0**7)
    for old, new in zip(weights, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_leaves_out_what_it_cannot():
    """`norm_narrow` meets the stem in a sum; sigmoids are in the way."""
    model = shaken(models.residual())
    before = outputs(model)
    gammas = names(model, "gamma")
    found = rescale(model, 0.3)
    assert set(found) == {"norm_stem", "norm_narrow", "norm_apart", "norm_up"}
    for name, gamma in names(model, "gamma").items():
        assert np.array_equal(gamma, gammas[name]) == (name not in found)
    # float32, with some ten layers of sums of up to 100 terms.
    assert np.abs(outputs(model) - before).max() <= 1e-5


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: layers.Activation("sigmoid", name="way"), "'way'"),
        (lambda: norm(name="way"), "'way', a BatchNorm"),
        (lambda: layers.Softmax(name="way"), "'way', a Softmax"),
        (lambda: layers.Lambda(lambda x: x, name="way"), "'way', a Lambda"),
    ],
)
def test_names_what_is_in_the_way(make, message):
    model = keras.Sequential(
        [keras.Input((3,)), norm(name="norm"), make(), layers.Dense(2)]
    )
    before = shaken(model).get_weights()
    with pytest.raises(ValueError, match=message):
        rescale(model, 0.5, layers="norm")
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_refuses_a_part_of_a_sum_and_outputs():
    model = shaken(homogeneous())
    with pytest.raises(ValueError, match="'sum', a Add, adds what is not"):
        rescale(model, 0.5, layers="norm_each")
    model = keras.Sequential([keras.Input((3,)), norm(name="norm")])
    with pytest.raises(ValueError, match="'norm' makes an output"):
        rescale(model, 0.5)


def test_refuses_other_alphas():
    for alpha in (0, -1, float("inf"), True, "0.5"):
        with pytest.raises(ValueError, match="`alpha` must be a finite"):
            rescale(homogeneous(), alpha)
