"""Whole-model tools on the architectures of keras.applications.

In every run on a residual network cut down to a few blocks; the networks
themselves belong to the long tier.
"""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

EPSILON = np.finfo("float32").eps
# One normalization rounds mean, difference, rate, product and sum, each in
# proportion to what it sums: a few units in the last place. Errors of a chain
# of them add up, where it neither amplifies nor damps.
ROUNDINGS = 4


def array(x):
    return keras.ops.convert_to_numpy(x)


def residual_network():
    """The stem and two blocks of a ResNet, one with a projection."""

    def norm(x, name):
        return layers.BatchNormalization(epsilon=1.001e-5, name=name)(x)

    def block(x, filters, stride, name):
        y = layers.Conv2D(filters, 3, stride, padding="same")(x)
        y = layers.Activation("relu")(norm(y, f"{name}_1_bn"))
        y = norm(layers.Conv2D(filters, 3, padding="same")(y), f"{name}_2_bn")
        if stride > 1:
            x = layers.Conv2D(filters, 1, stride)(x)
            x = norm(x, f"{name}_0_bn")
        return layers.Activation("relu")(layers.Add()([x, y]))

    image = keras.Input((64, 64, 3))
    x = layers.Conv2D(8, 7, 4, padding="same")(image)
    x = layers.Activation("relu")(norm(x, "conv1_bn"))
    x = block(block(x, 8, 1, "conv2"), 16, 2, "conv3")
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def application(name):
    def make():
        return getattr(keras.applications, name)(
            weights=None, include_top=False, pooling="avg", input_shape=SHAPE
        )

    return pytest.param(make, marks=pytest.mark.all, id=name)


SHAPE = (64, 64, 3)
NETWORKS = [
    pytest.param(residual_network, id="residual"),
    application("MobileNetV3Small"),
    application("ResNet50"),
    application("EfficientNetB0"),
    application("DenseNet121"),
]


def images(n=4):
    return np.random.default_rng(1).uniform(0, 255, (n, *SHAPE)).astype("f4")


def normalizations(model, cls):
    return [x for x in model._flatten_layers() if type(x) is cls]


def shaken(model):
    """Random affine parameters, statistics near those of the images.

    Near: with others the signal would die out, or swamp everything, from
    layer to layer, and the outputs would show nothing of it.
    """
    random = np.random.default_rng(0)
    norms = normalizations(model, layers.BatchNormalization)
    for layer in norms:
        for w, low, high in ((layer.gamma, 0.7, 1.3), (layer.beta, -0.3, 0.3)):
            if w is not None:
                w.assign(random.uniform(low, high, w.shape))
    kn.tools.recompute_statistics(model, images(), steps=1, batch_size=4)
    for layer in norms:
        variance = array(layer.moving_variance)
        shift = random.uniform(-0.3, 0.3, variance.shape)
        factor = random.uniform(0.7, 1.4, variance.shape)
        layer.moving_mean.assign(layer.moving_mean + shift * variance**0.5)
        layer.moving_variance.assign(factor * variance)
    return model


def step(model):
    """The loss of one training step, which moves the weights."""
    x = images()
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    return float(
        model.train_on_batch(
            x, np.ones(model.output_shape[1:])[None].repeat(len(x), 0)
        )
    )


@pytest.mark.parametrize("make", NETWORKS)
def test_batch_normalization_of_ours(make):
    model = shaken(make())
    count = len(normalizations(model, layers.BatchNormalization))
    made, report = kn.tools.convert(model, "ours", return_report=True)
    assert len(report.converted) == count and not report.losses
    assert len(normalizations(made, kn.layers.BatchNormalization)) == count
    expected = model.predict(images(), verbose=0)
    found = made.predict(images(), verbose=0)
    # The images matter: outputs differ by more than rounding would show.
    spread = expected.std(0).max() / np.abs(expected).max()
    assert spread > 1e-2
    bound = ROUNDINGS * count * EPSILON * np.abs(expected).max()
    assert np.abs(found - expected).max() <= bound
    assert abs(step(made) / step(model) - 1) <= ROUNDINGS * count * EPSILON
    recomputed = kn.tools.recompute_statistics(
        made, images(), steps=1, batch_size=4
    )
    assert len(recomputed) == count
    assert np.isfinite(made.predict(images(), verbose=0)).all()


@pytest.mark.parametrize("make", NETWORKS)
def test_group_normalization_instead(make):
    model = make()
    count = len(normalizations(model, layers.BatchNormalization))
    made, report = kn.tools.convert(
        model,
        {
            layers.BatchNormalization: lambda layer: (
                # The largest power of two that divides the channels.
                kn.layers.GroupNormalization(
                    min(
                        32,
                        layer.moving_mean.shape[0]
                        & -layer.moving_mean.shape[0],
                    )
                )
            )
        },
        return_report=True,
    )
    assert len(report.converted) == count and not report.losses
    before = made.get_weights()
    assert np.isfinite(step(made))
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(before, made.get_weights(), strict=True)
    ]
    assert np.mean(moved) > 0.9


def settled(model):
    """Random affine parameters and statistics that amplify no rounding.

    A channel that hardly varies is divided by what is near 0: one unit in the
    last place of the images then moves the outputs of these networks by 1e-5
    to 1e-3, folded or not.
    """
    random = np.random.default_rng(0)
    norms = normalizations(model, layers.BatchNormalization)
    for layer in norms:
        for w, low, high in ((layer.gamma, 0.7, 1.3), (layer.beta, -0.3, 0.3)):
            if w is not None:
                w.assign(random.uniform(low, high, w.shape))
    kn.tools.recompute_statistics(model, images(), steps=1, batch_size=4)
    for layer in norms:
        variance = array(layer.moving_variance)
        factor = random.uniform(0.7, 1.4, variance.shape)
        layer.moving_variance.assign(
            factor * variance + FLOOR * variance.mean()
        )
    return model


FLOOR = 0.3
# Normalizations that stay: DenseNet has most of them before an activation.
KEPT = {"densenet121": 62}


@pytest.mark.parametrize("make", NETWORKS)
def test_folding(make):
    model = settled(make())
    count = len(normalizations(model, layers.BatchNormalization))
    kept = KEPT.get(model.name, 0)
    made, report = kn.tools.fold(model, return_report=True)
    assert len(report.folded) == count - kept, str(report)
    assert len(normalizations(made, layers.BatchNormalization)) == kept
    assert made.count_params() < model.count_params()
    expected = model.predict(images(), verbose=0)
    found = made.predict(images(), verbose=0)
    # Images differ by a hundred times what folding may change.
    assert expected.std(0).max() / np.abs(expected).max() > 1e-3
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
