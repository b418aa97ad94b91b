"""Folded models compute what they did, and say what could not be folded."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

# Kernels are rounded once, outputs by each of a handful of layers.
TOLERANCE = 1e-5


def array(x):
    return keras.ops.convert_to_numpy(x)


def shaken(model):
    """Random weights: variances and scales of either sign, large means."""
    random = np.random.default_rng(0)
    for w in model.weights:
        if w.dtype != "float32":
            continue
        if "variance" in w.name or "stddev" in w.name:
            value = random.uniform(0.3, 3.0, w.shape)
        elif w.name == "gamma":
            value = random.uniform(-1.5, 1.5, w.shape)
        else:
            value = random.normal(0.0, 0.5, w.shape)
        w.assign(value.astype("float32"))
    return model


def data(model):
    random = np.random.default_rng(1)
    (t,) = model.inputs
    return random.normal(size=(2, *t.shape[1:])).astype("float32")


def check_equal(model, folded):
    """The same outputs, of the size of the outputs."""
    x = data(model)
    expected = keras.tree.flatten(model(x))
    found = keras.tree.flatten(folded(x))
    assert len(expected) == len(found)
    for a, b in zip(map(array, expected), map(array, found), strict=True):
        assert a.shape == b.shape and np.ptp(a) > 1e-2
        assert np.abs(a - b).max() <= TOLERANCE * np.abs(a).max()


def functional(function, shape):
    inputs = keras.Input(shape)
    return shaken(keras.Model(inputs, function(inputs), name="model"))


def folded(model, **options):
    before = [array(w) for w in model.weights]
    made, report = kn.tools.fold(model, return_report=True, **options)
    after = [array(w) for w in model.weights]
    assert all(map(np.array_equal, before, after))
    check_equal(model, made)
    return made, report


def norms(model):
    return [
        layer.name
        for layer in model._flatten_layers()
        if "Normalization" in type(layer).__name__
    ]


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


def conv(name="conv", **options):
    return layers.Conv2D(4, 1, name=name, **options)


def norm(name="norm", **options):
    return layers.BatchNormalization(name=name, **options)


def activation_between(x):
    return norm()(conv(activation="relu")(x))


def layer_between(x):
    return norm()(layers.ReLU(name="relu")(conv()(x)))


def shared_norm(x):
    shared = norm()
    return shared(conv("conv")(x)), shared(conv("conv_2")(x))


def shared_conv(x):
    shared = conv()
    first = shared(x)
    return norm()(first), shared(layers.ReLU()(x))


def several_consumers(x):
    x = conv()(x)
    return layers.Add()([norm()(x), x])


def returned(x):
    x = conv()(x)
    return x, norm()(x)


def trained(x):
    return norm()(conv()(x), training=True)


def padded(x):
    return layers.Conv2D(4, 3, padding="same", name="conv")(norm()(x))


def within(x):
    inner = keras.Sequential([layers.Dense(4), norm()])
    return layers.TimeDistributed(inner, name="loop")(x)


class OwnNorm(layers.BatchNormalization):
    pass


def subclass(x):
    return OwnNorm(name="norm")(conv()(x))


class OwnConv(layers.Conv2D):
    pass


def subclassed_conv(x):
    return norm()(OwnConv(4, 1, name="conv")(x))


REASONS = {
    activation_between: "not into `conv`: the convolution applies "
    "activation=relu before it",
    layer_between: "before it is `relu`, a ReLU",
    shared_norm: "it is shared: it is called 2 times",
    shared_conv: "not into `conv`: it is shared, called 2 times",
    several_consumers: "not into `conv`: what is between them goes to several "
    "layers, `norm`, `add",
    returned: "not into `conv`: a model returns what is between them",
    trained: "it is called with training=True",
    padded: "not into `conv`: the convolution pads with zeros "
    "(padding='same') after it",
    within: "it is within `loop`, whose calls are not known",
    subclass: "it is a subclass of BatchNormalization",
    subclassed_conv: "before it is `conv`, a OwnConv",
}


@pytest.mark.parametrize("make", REASONS, ids=lambda f: f.__name__)
def test_reasons(make):
    model = functional(make, (5, 5, 4))
    made, report = kn.tools.fold(model, return_report=True)
    assert not report.folded
    assert REASONS[make] in str(report.kept[0]), str(report)
    assert norms(made) == norms(model)
    with pytest.raises(ValueError, match="`strict`.*norm"):
        kn.tools.fold(model, strict=True)
    with pytest.warns(UserWarning, match="could be folded"):
        kn.tools.fold(model)


def test_in_a_row_and_across_models():
    shared = keras.Sequential(
        [keras.Input((5, 5, 4)), conv("a"), norm("a_norm")], name="shared"
    )
    first = keras.Sequential(
        [keras.Input((5, 5, 4)), conv("b", use_bias=False)], name="first"
    )
    alone = keras.Sequential([keras.Input((5, 5, 4)), norm("b_1")], name="one")

    def network(x):
        x = layers.Add()([shared(x), shared(layers.ReLU()(x))])
        x = norm("b_2")(alone(first(x), training=False))
        x = layers.ReLU()(x)
        # Both into the next, the last one first.
        return conv("c", activation="tanh")(norm("c_2")(norm("c_1")(x)))

    made, report = folded(functional(network, (5, 5, 4)), strict=True)
    assert len(report.folded) == 5 and not report.kept and not norms(made)
    places = {
        c.path.split("/")[-1]: c.into.split("/")[-1] for c in report.folded
    }
    assert places == {
        "a_norm": "a",
        "b_1": "b",
        "b_2": "b",
        "c_1": "c",
        "c_2": "c",
    }
    assert "one" not in [layer.name for layer in made.layers]
    assert type(made.get_layer("shared")) is keras.Sequential


def test_parametrized_kernels_are_baked():
    model = shaken(
        keras.Sequential(
            [
                keras.Input((5, 5, 4)),
                kn.layers.WeightNormalization(conv(), name="wrapped"),
                kn.layers.BatchNormalization(name="norm"),
                kn.layers.WeightNormalization(conv("last"), name="kept"),
            ],
            name="model",
        )
    )
    made, report = folded(model)
    assert [type(layer) for layer in made.layers] == [
        layers.Conv2D,
        kn.layers.WeightNormalization,
    ]
    assert made.layers[0].name == "wrapped"
    assert "WeightNormalization now, which is gone" in str(report)


def test_what_the_copy_keeps(tmp_path):
    model = functional(
        lambda x: norm()(conv(use_bias=False, kernel_regularizer="l2")(x)),
        (5, 5, 4),
    )
    model.get_layer("conv").trainable = False
    made, _ = folded(model)
    layer = made.get_layer("conv")
    assert [w.path for w in made.weights] == [
        "conv/kernel",
        "conv/bias",
    ]
    assert not layer.trainable and not made.trainable_variables
    assert isinstance(layer.kernel_regularizer, keras.regularizers.L2)
    made.save(tmp_path / "model.keras")
    check_equal(model, keras.models.load_model(tmp_path / "model.keras"))


def test_models_that_are_refused():
    class Own(keras.Model):
        pass

    with pytest.raises(ValueError, match="Sequential or functional"):
        kn.tools.fold(Own())
    with pytest.raises(ValueError, match="must be built"):
        kn.tools.fold(keras.Sequential([layers.Dense(2)]))
