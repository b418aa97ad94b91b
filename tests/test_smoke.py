"""What an installed wheel must be able to do.

Imports nothing else of the tests, so that it also runs from another directory
where only keras_norm, Keras and one backend are installed.
"""

import inspect
import json
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

import keras_norm as kn  # noqa: E402

pytestmark = pytest.mark.smoke


def data(*shape):
    return np.random.default_rng(0).normal(1.0, 2.0, shape).astype("float32")


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def standardized(x, axes, epsilon):
    x = x.astype("float64")
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def test_version():
    assert [part.isdigit() for part in kn.__version__.split(".")[:2]]


def test_batch_normalization():
    x = data(4, 3, 2, 8)
    layer = kn.layers.BatchNormalization(momentum=0.5)
    expected = standardized(x, (0, 1, 2), 1e-3)
    np.testing.assert_allclose(
        numpy(layer(x, training=True)), expected, atol=1e-5
    )
    np.testing.assert_allclose(
        numpy(layer.moving_mean), 0.5 * x.mean((0, 1, 2)), atol=1e-5
    )


def test_group_normalization():
    x = data(4, 3, 2, 8)
    y = numpy(kn.layers.GroupNormalization(groups=2)(x))
    grouped = x.reshape(4, 6, 2, 4)
    expected = standardized(grouped, (1, 3), 1e-3).reshape(x.shape)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_layer_normalization():
    x = data(4, 3, 8)
    y = numpy(kn.layers.LayerNormalization()(x))
    np.testing.assert_allclose(y, standardized(x, -1, 1e-3), atol=1e-5)


def made(name):
    """A layer with nothing but the arguments that it needs."""
    cls = getattr(kn.layers, name)
    needed = [
        parameter.name
        for parameter in inspect.signature(cls.__init__).parameters.values()
        if parameter.default is parameter.empty
        and parameter.name != "self"
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    given = dict.fromkeys(needed, 3)
    named = {
        "layer": keras.layers.Dense(3),
        "activation": "relu",
        "widths": (3,),
    }
    given |= {name: named[name] for name in needed if name in named}
    return cls(**given)


def test_config_round_trip():
    for name in kn.layers.__all__:
        layer = made(name)
        config = json.loads(json.dumps(layer.get_config()))
        copy = type(layer).from_config(config)
        assert json.loads(json.dumps(copy.get_config())) == config


def test_model_is_saved_and_loaded(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(8),
            kn.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    x = data(16, 8)
    model.fit(x, x[:, :1], verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )


def test_catalog_is_there():
    from keras_norm import catalog

    assert catalog.find("batch normalization").status == "available"
