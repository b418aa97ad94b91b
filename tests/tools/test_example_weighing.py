"""The example in its own statistics: two tools, two formulas."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from tools.statistics_models import array
from tools.statistics_models import same
from tools.statistics_models import state

# Outputs of some units after one normalization.
TOLERANCE = 1e-5


def images():
    random = np.random.default_rng(3)
    x = random.standard_normal((6, 5, 5, 3)) * [0.5, 1, 2] + [0, 1, -2]
    return x.astype("float32")


def network(norm=layers.BatchNormalization, **options):
    """Normalization alone, in a nested model."""
    inner = keras.Sequential(
        [keras.Input((5, 5, 3)), norm(name="norm", epsilon=1e-3, **options)]
    )
    model = keras.Sequential([keras.Input((5, 5, 3)), inner])
    random = np.random.default_rng(4)
    model.set_weights(
        [np.abs(random.standard_normal(w.shape)) + 0.3 for w in model.weights]
    )
    return model, inner.layers[0]


def recovered(layer, x, mean, variance):
    rate = array(layer.gamma) / np.sqrt(variance + 1e-3)
    return (x - mean) * rate + array(layer.beta)


def eval_norm(layer, x, a, b):
    """Singh & Shrivastava's formula."""
    x = x.astype("float64")
    mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    own = x.mean(axis=(1, 2), keepdims=True)
    spread = x.var(axis=(1, 2), keepdims=True)
    apart = a * (1 - a) * (own - mean) ** 2
    return recovered(
        layer,
        x,
        a * own + (1 - a) * mean,
        b * spread + (1 - b) * variance + apart,
    )


def weighing(layer, x, a):
    """Summers & Dinneen's formula: raw second moments."""
    x = x.astype("float64")
    kept = array(layer.moving_mean)
    kept_square = array(layer.moving_variance) + kept**2
    mean = a * x.mean(axis=(1, 2), keepdims=True) + (1 - a) * kept
    square = a * np.mean(x**2, axis=(1, 2), keepdims=True)
    square = square + (1 - a) * kept_square
    return recovered(layer, x, mean, square - mean**2)


@pytest.mark.parametrize(
    "norm",
    [
        layers.BatchNormalization,
        kn.layers.BatchNormalization,
        kn.layers.BatchRenormalization,
    ],
)
def test_both_formulas(norm):
    model, layer = network(norm)
    if norm is kn.layers.BatchRenormalization:
        deviation = array(layer.moving_stddev)
        layer.moving_variance = deviation**2 - 1e-3
        expected = eval_norm(layer, images(), 0.2, 0.4)
        del layer.moving_variance
    else:
        expected = eval_norm(layer, images(), 0.2, 0.4)
    x, before = images(), state(model)
    made = kn.tools.eval_normalize(model, 0.2, 0.4)
    assert np.abs(array(made(x)) - expected).max() <= TOLERANCE
    assert same(before, state(model))


@pytest.mark.parametrize("a", [0.0, 0.25, 1.0])
def test_equal_shares(a):
    """Both tools are one; at the ends known layers."""
    model, layer = network()
    x = images()
    one = array(kn.tools.example_weighing(model, a)(x))
    other = array(kn.tools.eval_normalize(model, a)(x))
    assert np.array_equal(one, other)
    assert np.abs(one - weighing(layer, x, a)).max() <= TOLERANCE
    assert np.abs(one - eval_norm(layer, x, a, a)).max() <= TOLERANCE
    if a == 0:
        assert np.abs(one - array(model(x))).max() <= TOLERANCE
    if a == 1:
        own = kn.layers.InstanceNormalization(epsilon=1e-3)
        own.build(x.shape)
        own.set_weights([array(layer.gamma), array(layer.beta)])
        assert np.abs(one - array(own(x))).max() <= TOLERANCE


def test_rule_of_thumb():
    model, layer = network()
    x = images()
    made = kn.tools.eval_normalize(model, batch_size=4)
    expected = eval_norm(layer, x, 0.25, 0.25)
    assert np.abs(array(made(x)) - expected).max() <= TOLERANCE


def test_vectors():
    """One entry is its own mean, and has no variance."""
    layer = layers.BatchNormalization(epsilon=1e-3)
    model = keras.Sequential([keras.Input((3,)), layer])
    x = images()[:, 0, 0]
    made = kn.tools.example_weighing(model, 0.3)
    expected = weighing(layer, x[:, None, None], 0.3)[:, 0, 0]
    assert np.abs(array(made(x)) - expected).max() <= TOLERANCE


def test_saved(tmp_path):
    model, _ = network(kn.layers.BatchNormalization)
    made = kn.tools.eval_normalize(model, 0.2, 0.4)
    x = images()
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(array(loaded(x)), array(made(x)))
    # In training it is batch normalization.
    y = array(made(x, training=True))
    expected = array(model(x, training=True))
    assert np.abs(y - expected).max() <= TOLERANCE


def test_chosen_on_validation_data():
    """The share with which the data were made."""
    model, _ = network()
    x = images()
    y = array(kn.tools.example_weighing(model, 0.5)(x)).astype("float32")
    with pytest.raises(ValueError, match="`loss` must be given"):
        kn.tools.example_weighing(model, validation_data=(x, y))
    model.compile(loss="mse")
    made = kn.tools.example_weighing(
        model, validation_data=(x, y), candidates=(0.0, 0.5, 1.0), batch_size=6
    )
    assert np.abs(array(made(x)) - y).max() <= TOLERANCE
    assert not made.compiled


def test_weights_of_examples_and_losses_choose():
    """Half of the data was made with one share, half with another."""
    model, _ = network()
    x = images()
    one, other = (
        array(kn.tools.example_weighing(model, a)(x)).astype("float32")
        for a in (0.5, 1.0)
    )
    y = np.concatenate([one[:3], other[3:]])
    options = {"candidates": (0.5, 1.0), "loss": "mse", "batch_size": 6}

    def chosen(model, data, **options):
        made = kn.tools.example_weighing(model, validation_data=data, **options)
        names = [w for w in made.weights if w.name == "mean_weight"]
        return float(array(names[0]))

    weights = np.array([1, 1, 1, 0, 0, 0], "float32")[:, None, None]
    assert chosen(model, (x, y, weights), **options) == 0.5
    assert chosen(model, (x, y, 1 - weights), **options) == 1.0
    # The same by the weights of two outputs.
    inputs = keras.Input((5, 5, 3))
    middle = model(inputs)
    both = keras.Model(
        inputs,
        [layers.Identity(name="a")(middle), layers.Identity(name="b")(middle)],
    )
    for first, expected in ((1.0, 0.5), (0.0, 1.0)):
        both.compile(loss=["mse", "mse"], loss_weights=[first, 1 - first])
        found = chosen(both, (x, [one, other]), candidates=(0.5, 1.0))
        assert found == expected


def test_no_candidate_without_a_loss():
    """NaN is no minimum."""
    model, _ = network()
    x = images()
    y = array(kn.tools.example_weighing(model, 0.5)(x)).astype("float32")
    # Deviations of less than 0 where the share is 0.
    for w in model.weights:
        if w.name == "moving_variance":
            w.assign(np.full(w.shape, -1e-2))
    options = {"loss": "mse", "batch_size": 6}
    made = kn.tools.example_weighing(
        model, validation_data=(x, y), candidates=(0.0, 0.5), **options
    )
    share = next(w for w in made.weights if w.name == "mean_weight")
    assert float(array(share)) == 0.5
    with pytest.raises(ValueError, match="must be finite"):
        kn.tools.example_weighing(
            model, validation_data=(x, y), candidates=(0.0,), **options
        )


def test_some_layers():
    inputs = keras.Input((5, 5, 3))
    y = layers.BatchNormalization(name="one")(inputs)
    outputs = layers.BatchNormalization(name="two")(y)
    model = keras.Model(inputs, outputs)
    made = kn.tools.eval_normalize(model, 0.1, layers="two")
    assert isinstance(made.get_layer("one"), layers.BatchNormalization)
    assert not isinstance(made.get_layer("two"), layers.BatchNormalization)
    with pytest.raises(ValueError, match="Did you mean 'two'"):
        kn.tools.eval_normalize(model, 0.1, layers="too")


def test_errors():
    model, _ = network()
    with pytest.raises(ValueError, match="`alpha` or `batch_size`"):
        kn.tools.eval_normalize(model)
    with pytest.raises(ValueError, match="`alpha` or `validation_data`"):
        kn.tools.example_weighing(model)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        kn.tools.eval_normalize(model, 1.5)
    with pytest.raises(ValueError, match="`candidates`"):
        kn.tools.example_weighing(
            model, validation_data=images(), candidates=(), loss="mse"
        )
    with pytest.raises(ValueError, match="`validation_data`.*again"):
        kn.tools.example_weighing(
            model, validation_data=iter([images()]), loss="mse"
        )
    plain = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="must have batch normalization"):
        kn.tools.eval_normalize(plain, 0.1)
