"""What is folded where in a model, and why something is not."""

import keras
import pytest
from keras import layers

import keras_norm as kn
from tools.fold_models import check_equal
from tools.fold_models import folded
from tools.fold_models import functional
from tools.fold_models import norms
from tools.fold_models import shaken


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
