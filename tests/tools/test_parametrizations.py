"""Weight parametrizations of whole models."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from layers.weights.kinds import array

ROUNDING = 3e-6


def network():
    """A model with a nested one, a shared layer, a recurrent one."""
    dense = layers.Dense(6, activation="relu", name="shared")
    inner = keras.Sequential(
        [keras.Input((5, 6)), layers.Conv1D(6, 3), layers.BatchNormalization()]
    )
    a, b = keras.Input((5, 4)), keras.Input((5, 4))
    both = layers.concatenate([dense(a), dense(b)], axis=1)
    both = layers.Dropout(0.5)(inner(both[:, :5]))
    outputs = layers.Dense(2, name="head")(layers.LSTM(3, name="lstm")(both))
    model = keras.Model([a, b], outputs)
    random = np.random.default_rng(0)
    model.set_weights(
        [np.abs(0.3 * random.standard_normal(w.shape)) for w in model.weights]
    )
    return model


def inputs():
    random = np.random.default_rng(1)
    return [random.standard_normal((3, 5, 4)).astype("float32")] * 2


def wrapped_layers(model):
    return [
        layer.name
        for layer in model._flatten_layers()
        if hasattr(layer, "plain_layer")
    ]


class TestReparameterize:
    def test_all_layers(self):
        model = network()
        before, weights = array(model(inputs())), model.get_weights()
        made = kn.tools.reparameterize(model, kn.layers.WeightNormalization)
        assert np.abs(array(made(inputs())) - before).max() <= ROUNDING
        assert {"head", "lstm", "shared"} < set(wrapped_layers(made))
        # And the convolution of the nested model.
        assert len(wrapped_layers(made)) == 4
        # The model itself is as it was.
        assert not wrapped_layers(model)
        for old, new in zip(weights, model.get_weights(), strict=True):
            assert np.array_equal(old, new)
        assert made.get_layer("head").layer.units == 2

    @pytest.mark.parametrize(
        "where",
        [
            lambda layer: layer.name == "head",
            ["head"],
            "head",
        ],
    )
    def test_some_layers(self, where):
        made = kn.tools.reparameterize(
            network(), kn.layers.WeightNormalization, where
        )
        assert wrapped_layers(made) == ["head"]

    def test_compiled_with_functions_that_are_not_registered(self):
        def loss(y, prediction):
            return keras.ops.mean(keras.ops.square(y - prediction), axis=-1)

        model = network()
        for compiled in (model, *model._flatten_layers(include_self=False)):
            if isinstance(compiled, keras.Model):
                compiled.compile("sgd", loss=loss)
        made = kn.tools.reparameterize(model, kn.layers.SpectralNormalization)
        made.compile("sgd", loss=loss)
        plain = kn.tools.remove_parametrizations(made)
        assert model.compiled and made.compiled and not plain.compiled
        assert not wrapped_layers(plain)
        difference = array(plain(inputs())) - array(made(inputs()))
        assert np.abs(difference).max() <= ROUNDING

    def test_the_models_share_no_arrays(self):
        # Training on JAX deletes the arrays it starts from.
        x = np.ones((4, 8), "float32")
        model = keras.Sequential(
            [keras.Input((8,)), layers.Dense(4), layers.Dense(1)]
        )
        bounded = kn.tools.reparameterize(
            model, kn.layers.SpectralNormalization, where=layers.Dense
        )
        plain = kn.tools.remove_parametrizations(bounded)
        given = array(plain(x))
        bounded.compile("sgd", "mse")
        before = model.get_weights()
        bounded.fit(x, x[:, :1], verbose=0)
        for old, new in zip(before, model.get_weights(), strict=True):
            assert np.array_equal(old, new)
        plain.compile("sgd", "mse")
        assert np.array_equal(array(plain(x)), given)
        plain.fit(x, x[:, :1], verbose=0)
        assert np.isfinite(array(bounded(x))).all()

    @pytest.mark.parametrize("where", [layers.Dense, [layers.Dense]])
    def test_classes(self, where):
        made = kn.tools.reparameterize(
            network(), kn.layers.WeightNormalization, where
        )
        assert sorted(wrapped_layers(made)) == ["head", "shared"]

    def test_a_function_makes_the_wrapper(self):
        made = kn.tools.reparameterize(
            network(),
            lambda layer: kn.layers.SpectralNormalization(
                layer, norm_bound=2.0
            ),
            "head",
        )
        wrapper = made.get_layer("head")
        assert wrapper.norm_bound == 2.0
        assert wrapper.violations()["kernel"] < 1e-3

    def test_trains_and_saves(self, tmp_path):
        made = kn.tools.reparameterize(network(), kn.layers.WeightNormalization)
        made.compile("sgd", "mse")
        made.fit(inputs(), np.ones((3, 2)), epochs=2, verbose=0)
        y = array(made(inputs()))
        made.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert np.array_equal(array(again(inputs())), y)

    def test_of_a_parametrization(self):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                kn.layers.WeightNormalization(layers.Dense(3)),
            ]
        )
        model.layers[0].g.assign(3 * model.layers[0].g)
        made = kn.tools.reparameterize(
            model,
            kn.layers.WeightNormalization,
            where=kn.layers.WeightNormalization,
        )
        x = inputs()[0][:, 0]
        assert np.abs(array(made(x)) - array(model(x))).max() <= ROUNDING

    def test_namesakes_layers_without_kernels_and_frozen_ones(self):
        inner = keras.Sequential(
            [keras.Input((5, 4)), layers.Dense(4, name="one")]
        )
        frozen = layers.Dense(2, name="one", trainable=False)
        model = keras.Sequential(
            [
                keras.Input((5, 4)),
                inner,
                layers.TimeDistributed(layers.Dropout(0.1)),
                frozen,
            ]
        )
        made = kn.tools.reparameterize(model, kn.layers.WeightNormalization)
        assert wrapped_layers(made) == ["one", "one"]
        assert not made.layers[-1].trainable_weights
        x = inputs()[0]
        assert np.abs(array(made(x)) - array(model(x))).max() <= ROUNDING
        made = kn.tools.reparameterize(
            model, kn.layers.WeightNormalization, lambda x: x is frozen
        )
        assert wrapped_layers(made) == ["one"]

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ({"where": "haed"}, "`where` must be one of"),
            ({"where": layers.Conv3D}, "must select at least one layer"),
            ({"map": lambda layer: layer}, "must return a weight param"),
        ],
    )
    def test_errors(self, arguments, message):
        arguments = {"map": kn.layers.WeightNormalization, **arguments}
        with pytest.raises(ValueError, match=message):
            kn.tools.reparameterize(network(), **arguments)

    def test_models_that_cannot_be_copied(self):
        class Net(keras.Model):
            pass

        with pytest.raises(ValueError, match="Sequential or functional"):
            kn.tools.reparameterize(Net(), kn.layers.WeightNormalization)
        with pytest.raises(ValueError, match="must be built"):
            kn.tools.reparameterize(
                keras.Sequential([layers.Dense(2)]),
                kn.layers.WeightNormalization,
            )


class TestRemove:
    def test_the_function_stays(self):
        model = kn.tools.reparameterize(
            network(), kn.layers.SpectralNormalization
        )
        y = array(model(inputs()))
        plain = kn.tools.remove_parametrizations(model)
        assert not wrapped_layers(plain)
        assert np.abs(array(plain(inputs())) - y).max() <= ROUNDING
        # The model itself is as it was, and still normalizes.
        assert len(wrapped_layers(model)) == 4
        assert np.array_equal(array(model(inputs())), y)

    def test_inside_other_layers(self):
        inside = layers.TimeDistributed(
            kn.layers.WeightNormalization(layers.Dense(2))
        )
        model = keras.Sequential([keras.Input((5, 4)), inside])
        with pytest.raises(ValueError, match="must not be inside other layers"):
            kn.tools.remove_parametrizations(model)

    def test_wrappers_within_wrappers(self):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                kn.layers.SpectralNormalization(
                    kn.layers.WeightNormalization(layers.Dense(3))
                ),
            ]
        )
        x = inputs()[0][:, 0]
        plain = kn.tools.remove_parametrizations(model)
        assert type(plain.layers[0]) is layers.Dense
        y, z = plain(x), model(x)
        assert np.abs(array(y) - array(z)).max() <= ROUNDING


class TestLoadPlainWeights:
    def test_of_a_plain_model(self, tmp_path):
        plain = network()
        plain.save_weights(tmp_path / "plain.weights.h5")
        model = kn.tools.reparameterize(
            network(), kn.layers.WeightNormalization
        )
        for variable in model.trainable_variables:
            variable.assign(0.1 + 0 * variable)
        kn.tools.load_plain_weights(model, tmp_path / "plain.weights.h5")
        y, z = model(inputs()), plain(inputs())
        assert np.abs(array(y) - array(z)).max() <= ROUNDING

    @pytest.mark.filterwarnings("ignore:Skipping nested container")
    def test_of_another_model(self, tmp_path):
        other = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        other.save_weights(tmp_path / "other.weights.h5")
        model = kn.tools.reparameterize(
            network(), kn.layers.WeightNormalization
        )
        before = model.get_weights()
        with pytest.raises(ValueError):
            kn.tools.load_plain_weights(model, tmp_path / "other.weights.h5")
        for old, new in zip(before, model.get_weights(), strict=True):
            assert np.array_equal(old, new)
