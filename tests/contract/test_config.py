"""Configs are JSON, complete, and the same before and after build."""

import inspect
import json

import keras
import numpy as np
import pytest

from contract.method import outputs
from contract.method import scramble
from contract.methods import METHODS
from contract.methods import first_of_each
from contract.methods import rows
from keras_norm.core import configuration


def data(config):
    """The config as it comes back from a file."""
    return json.loads(json.dumps(config))


@pytest.mark.parametrize("method", rows(METHODS))
def test_config_makes_the_same_layer(method):
    layer = method.make()
    config = layer.get_config()
    assert data(method.cls.from_config(data(config)).get_config()) == data(
        config
    )
    method.build(layer, method.shape())
    assert layer.get_config() == config
    scramble(layer)
    copy = method.cls.from_config(data(layer.get_config()))
    method.build(copy, method.shape())
    copy.set_weights(layer.get_weights())
    inputs = method.given(method.inputs())
    for a, b in zip(outputs(layer(inputs)), outputs(copy(inputs)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.once
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_config_has_every_argument(method):
    layer = method.make(name="here", dtype="mixed_bfloat16")
    config = layer.get_config()
    # A drop-in may leave out what Keras does not know, at its default.
    beyond = set(getattr(method.cls, "beyond_keras", ()))
    assert set(arguments(method.cls)) - beyond <= set(config)
    assert set(method.options) <= set(config)
    copy = method.cls.from_config(data(config))
    assert copy.name == "here"
    assert copy.compute_dtype == "bfloat16"
    assert copy.variable_dtype == "float32"
    assert data(copy.get_config()) == data(config)


def arguments(cls):
    """Names of the arguments that the signature shows."""
    shown = inspect.signature(cls.__init__).parameters.values()
    return [p.name for p in shown if p.kind is not p.VAR_KEYWORD][1:]


@pytest.mark.once
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_layer_loads_by_its_registered_name(method):
    layer = method.make()
    written = data(keras.saving.serialize_keras_object(layer))
    assert written["registered_name"] == f"keras_norm>{method.layer}"
    copy = keras.saving.deserialize_keras_object(written, safe_mode=True)
    assert type(copy) is method.cls
    assert data(copy.get_config()) == data(layer.get_config())


@pytest.mark.once
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_repr_says_what_it_is(method):
    shown = repr(method.make(name="mine"))
    assert method.layer in shown
    assert "mine" in shown


@pytest.mark.once
@pytest.mark.parametrize("method", first_of_each(), ids=str)
def test_misspelt_keyword_names_the_nearest(method):
    known = configuration.arguments(method.cls) or ["trainable"]
    name = known[-1]
    with pytest.raises(TypeError, match=rf"Did you mean '{name}'\?"):
        method.make(**{name + "s": 1})
    with pytest.raises(TypeError, match="has no argument 'kernel_size_of_it'"):
        method.make(kernel_size_of_it=3)


def test_options_of_gamma_and_beta_survive():
    from keras_norm import layers

    layer = layers.InstanceNormalization(
        gamma_initializer=keras.initializers.Constant(2.0),
        beta_initializer="ones",
        gamma_regularizer=keras.regularizers.L2(0.1),
        beta_constraint="non_neg",
    )
    config = json.loads(json.dumps(layer.get_config()))
    copy = layers.InstanceNormalization.from_config(config)
    copy.build((None, 4, 8))
    gamma, beta = copy.get_weights()
    np.testing.assert_array_equal(gamma, np.full(8, 2.0))
    np.testing.assert_array_equal(beta, np.ones(8))
    assert isinstance(copy.beta.constraint, keras.constraints.NonNeg)
    penalty = keras.ops.convert_to_numpy(copy.losses[0])
    np.testing.assert_allclose(penalty, 0.1 * 4 * 8, rtol=1e-6)
