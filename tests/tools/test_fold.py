"""Folded layers compute what they did, whatever is folded into what."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from tools.fold_models import folded
from tools.fold_models import functional
from tools.fold_models import norms

# Not square, several groups and multipliers; (layer, input, folds before).
IMAGE, LINE, SPACE = (7, 6, 4), (9, 4), (4, 5, 3, 2)
LAYERS = {
    "dense": (lambda: layers.Dense(3), (4,), True),
    "dense_of_sequences": (lambda: layers.Dense(3, use_bias=False), LINE, True),
    "conv1d": (lambda: layers.Conv1D(3, 2, strides=2), LINE, True),
    "conv1d_causal": (lambda: layers.Conv1D(3, 2, padding="causal"), LINE, 0),
    "conv2d": (lambda: layers.Conv2D(3, (2, 3), use_bias=False), IMAGE, True),
    "conv2d_groups": (lambda: layers.Conv2D(6, (3, 2), groups=2), IMAGE, True),
    "conv2d_dilated": (
        lambda: layers.Conv2D(3, (2, 1), dilation_rate=2, padding="same"),
        IMAGE,
        False,
    ),
    "conv2d_pointwise": (
        lambda: layers.Conv2D(3, 1, strides=2, padding="same"),
        IMAGE,
        True,
    ),
    "conv3d": (lambda: layers.Conv3D(3, (2, 3, 1)), SPACE, True),
    "depthwise1d": (
        lambda: layers.DepthwiseConv1D(3, depth_multiplier=2),
        LINE,
        True,
    ),
    "depthwise2d": (
        lambda: layers.DepthwiseConv2D((2, 3), depth_multiplier=3),
        IMAGE,
        True,
    ),
    "separable1d": (
        lambda: layers.SeparableConv1D(3, 2, depth_multiplier=2),
        LINE,
        True,
    ),
    "separable2d": (
        lambda: layers.SeparableConv2D(3, (2, 3), depth_multiplier=2),
        IMAGE,
        True,
    ),
    "transposed1d": (lambda: layers.Conv1DTranspose(3, 2), LINE, False),
    "transposed2d": (
        lambda: layers.Conv2DTranspose(3, (3, 2), strides=2),
        IMAGE,
        False,
    ),
    "transposed2d_pointwise": (
        lambda: layers.Conv2DTranspose(3, 1, use_bias=False),
        IMAGE,
        True,
    ),
    "transposed3d": (
        lambda: layers.Conv3DTranspose(3, (1, 2, 2)),
        SPACE,
        False,
    ),
}
EVERY_RUN = ("dense", "conv2d_groups", "depthwise2d", "separable2d")


@pytest.mark.parametrize(
    "name",
    [
        n if n in EVERY_RUN else pytest.param(n, marks=pytest.mark.all)
        for n in LAYERS
    ],
)
def test_before_and_after(name):
    make, shape, before = LAYERS[name]

    def branch(x):
        x = layers.BatchNormalization(name="first")(x)
        layer = make()
        layer.name = "layer"
        x = layers.BatchNormalization(name="second")(layer(x))
        return layers.ReLU()(x)

    made, report = folded(functional(branch, shape))
    assert [c.path for c in report.folded] == (
        ["first", "second"] if before else ["second"]
    )
    assert norms(made) == ([] if before else ["first"])
    assert [c.into for c in report.folded][0] == "layer"
    if not before:
        (change,) = report.kept
        assert "what it normalizes is an input" in str(change)
        word = "zeros" if "conv" in name else "transposed"
        assert word in str(change) and "not into `layer`" in str(change)


@pytest.mark.parametrize("axis", [1, -1])
def test_channels_first(axis):
    def branch(x):
        x = layers.Conv2D(4, 2, data_format="channels_first", groups=2)(x)
        return layers.BatchNormalization(axis=axis)(x)

    _, report = folded(functional(branch, (4, 5, 6)))
    if axis == 1:
        assert not report.kept
    else:
        assert "its axis is -1" in str(report.kept[0])


OURS = {
    name: make
    for name, make in {
        "BatchNormalization": lambda c: c(epsilon=0.1),
        "BatchRenormalization": lambda c: c(),
        "FrozenBatchNormalization": lambda c: c(center=False),
        "FullNormalization": lambda c: c(),
        "GhostBatchNormalization": lambda c: c(virtual_batch_size=2),
        "LpBatchNormalization": lambda c: c(p=1),
        "MeanOnlyBatchNormalization": lambda c: c(),
        "MemorizedBatchNormalization": lambda c: c(),
        "MomentumBatchNormalization": lambda c: c(),
        "PopulationBatchNormalization": lambda c: c(),
        "RangeBatchNormalization": lambda c: c(),
        "ScaleOnlyBatchNormalization": lambda c: c(scale=False),
        "StochasticBatchNormalization": lambda c: c(inference="moving"),
    }.items()
}


@pytest.mark.parametrize(
    "names",
    [
        ("BatchNormalization", "FrozenBatchNormalization"),
        pytest.param(list(OURS), marks=pytest.mark.all),
    ],
    ids=["few", "every"],
)
def test_layers_of_ours(names):
    def chain(x):
        for name in names:
            x = layers.Dense(4, name=f"dense_{name}")(x)
            x = OURS[name](getattr(kn.layers, name))(x)
            # Keeps the numbers near 1.
            x = layers.Activation("tanh")(x)
        return x

    inputs = keras.Input((4,))
    model = keras.Model(inputs, chain(inputs))
    random = np.random.default_rng(0)
    for w in model.trainable_variables:
        w.assign(random.normal(size=w.shape).astype("float32"))
    x = random.normal(3.0, 2.0, (8, 4)).astype("float32")
    for _ in range(2):
        model(x, training=True)
    made, report = folded(model)
    assert len(report.folded) == len(names), str(report)
    assert not norms(made)


REFUSED = {
    "LayerNormalization": ({}, "no batch normalization|statistics are those"),
    "InstanceNormalization": ({}, "statistics are those of the input"),
    "StochasticBatchNormalization": ({}, "not known to be one scale"),
    "PowerNormalization": ({"groups": 2}, "not known to be one scale"),
    "InstanceEnhancementBatchNormalization": ({}, "not known to be one"),
    "DecorrelatedBatchNormalization": ({"group_size": 2}, "mixes the chann"),
}


def test_layers_of_ours_that_are_no_scale_and_shift():
    x = inputs = keras.Input((5, 5, 4))
    for name, (options, _) in REFUSED.items():
        x = layers.Conv2D(4, 1, name=f"conv_{name}")(x)
        x = getattr(kn.layers, name)(**options, name=name)(x)
    model = keras.Model(inputs, x)
    made, report = kn.tools.fold(model, return_report=True)
    assert not report.folded and len(report.kept) == len(REFUSED)
    assert len(made.layers) == len(model.layers)
    for change in report.kept:
        _, words = REFUSED[change.path.split("/")[-1]]
        assert any(w in str(change) for w in words.split("|")), str(change)
