"""Other normalization layers in whole models."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

convert = kn.tools.convert
# What one formula rounds otherwise than the other, through few layers.
ROUNDING = 1e-5


def array(x):
    return keras.ops.convert_to_numpy(x)


@keras.saving.register_keras_serializable("test")
class Step(layers.Layer):
    """A recurrent cell with a layer normalization inside."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.dense = layers.Dense(units)
        self.norm = layers.LayerNormalization(epsilon=1e-4)

    def build(self, shape):
        self.dense.build((None, shape[-1] + self.units))
        self.norm.build((None, self.units))

    def call(self, x, states):
        h = keras.ops.concatenate([x, states[0]], -1)
        h = keras.ops.tanh(self.norm(self.dense(h)))
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("test")
class Block(layers.Layer):
    """Normalizations in an attribute, in lists, made in build."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization(axis=-1, epsilon=1e-2)
        self.parts = [layers.Dense(6), {"norm": layers.BatchNormalization()}]
        self.pair = (self.norm, layers.LayerNormalization())

    def build(self, shape):
        self.late = layers.BatchNormalization(scale=False)
        for layer in (self.norm, self.parts[0], self.parts[1]["norm"]):
            layer.build(shape)
        self.pair[1].build(shape)
        self.late.build(shape)

    def call(self, x, training=None):
        x = self.norm(x, training=training)
        x = self.parts[1]["norm"](self.parts[0](x), training=training)
        x = self.pair[1](self.pair[0](x, training=training))
        return self.late(x, training=training)


@keras.saving.register_keras_serializable("test")
class Net(keras.Model):
    """A subclassed model."""

    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.block = Block(name="block")
        self.dense = layers.Dense(units, name="dense")
        self.norm = layers.BatchNormalization(name="norm")

    def call(self, x, training=None):
        x = self.dense(self.block(x, training=training))
        return self.norm(x, training=training)

    def get_config(self):
        return {"units": self.units, "name": self.name}


@keras.saving.register_keras_serializable("test")
class Own(layers.BatchNormalization):
    """Somebody's subclass."""


def shaken(model):
    """The model with weights that make every one of them count."""
    random = np.random.default_rng(0)
    for w in model.weights:
        value = 0.4 * random.standard_normal(w.shape)
        if "kernel" not in w.name:
            value = np.abs(value) + 0.5
        w.assign(value)
    return model


def network():
    """Everything at once: (2, 6) sequences, two inputs, two outputs."""
    shared = layers.BatchNormalization(name="shared", momentum=0.7)
    inner = keras.Sequential(
        [keras.Input((2, 6)), layers.Conv1D(6, 3, padding="same")], name="inner"
    )
    inner.add(layers.BatchNormalization(name="nested", epsilon=1e-4))
    a, b = keras.Input((2, 6), name="a"), keras.Input((2, 6), name="b")
    x = shared(a) + shared(b)
    x = layers.TimeDistributed(shared, name="steps")(x)
    x = inner(inner(x))
    x = layers.GroupNormalization(3, name="groups")(x)
    x = layers.RMSNormalization(name="rms")(x)
    x = Block(name="block")(x)
    x = layers.Dropout(0.5)(x)
    y = layers.UnitNormalization(name="unit")(x)
    return shaken(keras.Model([a, b], {"x": x, "y": y}, name="network"))


def inputs(shape=(3, 2, 6), n=2):
    random = np.random.default_rng(1)
    return [random.standard_normal(shape).astype("float32") for _ in range(n)]


def difference(made, model, data):
    """The largest difference of outputs, relative to the largest output."""
    first = keras.tree.flatten(made(data))
    second = keras.tree.flatten(model(data))
    return max(
        np.abs(array(a) - array(b)).max() / np.abs(array(b)).max()
        for a, b in zip(first, second, strict=True)
    )


def normalizations(model):
    return [
        type(layer).__module__.split(".")[0]
        for layer in model._flatten_layers(include_self=False)
        if "Normalization" in type(layer).__name__
    ]


def quietly(model, to):
    return convert(model, to, return_report=True)[0]


class TestOurs:
    def test_everywhere(self):
        model = network()
        before = model.get_weights()
        made, report = convert(model, "ours", return_report=True)
        assert set(normalizations(made)) == {"keras_norm"}
        assert len(normalizations(made)) == len(normalizations(model)) == 9
        assert len(report.converted) == 9 and not report.kept
        # A class that makes its layers itself will do so again.
        assert len(report.losses) == 4
        assert {n for c in report.losses for n in c.notes} == {
            "Block makes its own anew when it is loaded from a file"
        }
        assert difference(made, model, inputs()) <= ROUNDING
        # The same weights under the same names, in the same order.
        assert [w.path for w in made.weights] == [w.path for w in model.weights]
        # The given model is as it was.
        assert set(normalizations(model)) == {"keras"}
        for old, new in zip(before, model.get_weights(), strict=True):
            assert np.array_equal(old, new)
        # Shared layers are still one layer.
        shared = made.get_layer("shared")
        assert made.get_layer("steps").layer is shared
        assert len(shared._inbound_nodes) == 2
        assert shared.momentum == 0.7
        assert made.get_layer("inner").layers[-1].epsilon == 1e-4
        block = made.get_layer("block")
        assert block.pair[0] is block.norm and block.norm.epsilon == 1e-2
        assert not block.late.scale

    def test_trains_and_saves(self, tmp_path):
        nested = keras.Sequential(
            [keras.Input((2, 6)), layers.BatchNormalization(name="nested")]
        )
        steps = layers.TimeDistributed(layers.BatchNormalization(), name="t")
        model = keras.Sequential(
            [keras.Input((2, 6)), nested, layers.Activation("tanh"), steps]
        )
        made = convert(shaken(model), "ours")
        assert set(normalizations(made)) == {"keras_norm"}
        x = inputs((3, 2, 6), 1)[0]
        before = made.get_weights()
        made.compile("sgd", "mse")
        made.fit(x, np.ones(x.shape), verbose=0)
        for old, new in zip(before, made.get_weights(), strict=True):
            assert not np.array_equal(old, new)
        made.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert set(normalizations(again)) == {"keras_norm"}
        assert difference(again, made, x) == 0

    def test_in_recurrent_cells(self):
        both = layers.Bidirectional(layers.RNN(Step(4), unroll=True))
        model = keras.Sequential([keras.Input((2, 6)), both])
        made = quietly(shaken(model), "ours")
        assert normalizations(made) == ["keras_norm"] * 2
        assert [w.name for w in made.weights] == [w.name for w in model.weights]
        assert difference(made, model, inputs((3, 2, 6), 1)[0]) <= ROUNDING

    def test_of_a_subclassed_model(self):
        model = Net(name="net")
        x = inputs(n=1)[0]
        model(x)
        shaken(model)
        made, report = convert(model, "ours", return_report=True)
        assert type(made) is Net and made.name == "net"
        assert set(normalizations(made)) == {"keras_norm"}
        assert len(report.converted) == 5
        assert difference(made, model, x) <= ROUNDING
        assert [w.path for w in made.weights] == [w.path for w in model.weights]

    def test_the_parameters_that_pytorch_sees(self):
        if keras.backend.backend() != "torch":
            return
        made = quietly(network(), "ours")
        seen = {id(p) for p in made.parameters()}
        assert seen == {id(w.value) for w in made.weights} | {
            id(v.value) for v in made.variables
        }

    def test_flags_and_policies(self):
        norm = layers.BatchNormalization(
            name="n", dtype="mixed_bfloat16", trainable=False
        )
        model = keras.Sequential([keras.Input((4,)), norm, layers.Dense(3)])
        model.layers[1].bias.trainable = False
        model.add(layers.LayerNormalization())
        model.layers[2].gamma.trainable = False
        made = convert(model, "ours")
        assert made.layers[0].dtype_policy.name == "mixed_bfloat16"
        flags = [[w.trainable for w in m.weights] for m in (made, model)]
        assert flags[0] == flags[1]
        assert not made.layers[0].trainable
        assert len(made.trainable_weights) == 2
        model.trainable = False
        assert not convert(model, "ours").trainable

    def test_spectral_normalization(self):
        layer = layers.SpectralNormalization(layers.Dense(4), 3, name="s")
        model = shaken(keras.Sequential([keras.Input((4,)), layer]))
        with pytest.warns(UserWarning, match="divided by sigma at inference"):
            made = convert(model, "ours")
        new = made.get_layer("s")
        assert type(new) is kn.layers.SpectralNormalization
        assert new.power_iterations == 3
        for name in ("kernel", "bias"):
            old_w, new_w = getattr(layer.layer, name), getattr(new.layer, name)
            assert np.array_equal(array(old_w), array(new_w))
        assert np.array_equal(array(new.vector_u), array(layer.vector_u))

    def test_renorm(self):
        layer = layers.BatchNormalization(renorm=True, renorm_momentum=0.3)
        model = shaken(keras.Sequential([keras.Input((4,)), layer]))
        made = convert(model, "ours")
        assert made.layers[0].renorm_momentum == 0.3
        for a, b in zip(model.weights, made.weights, strict=True):
            assert np.array_equal(array(a), array(b))
        with pytest.warns(UserWarning, match="renorm=True has no counterpart"):
            convert(
                model,
                {layers.BatchNormalization: kn.layers.GroupNormalization(2)},
            )


def stand_in(name, base, **members):
    """A class as TensorFlow Addons would have it under Keras 3."""
    cls = type(name, (base,), members)
    cls.__module__ = "tensorflow_addons.layers.normalizations"
    return cls


class TestAddons:
    def test_group_and_instance_normalization(self):
        group = stand_in("GroupNormalization", layers.GroupNormalization)
        instance = stand_in("InstanceNormalization", group)
        model = shaken(
            keras.Sequential(
                [
                    keras.Input((4, 4, 6)),
                    group(3, epsilon=1e-4),
                    instance(-1, epsilon=1e-2),
                ]
            )
        )
        made, report = convert(model, "ours", return_report=True)
        assert [type(x).__name__ for x in made.layers] == [
            "GroupNormalization",
            "InstanceNormalization",
        ]
        assert not report.losses and len(report.converted) == 2
        assert "tensorflow_addons.Inst" in str(report)
        data = inputs((2, 4, 4, 6), 1)[0]
        assert difference(made, model, data) <= ROUNDING

    def test_filter_response_normalization(self):
        def init(self, epsilon=1e-6, axis=(1, 2), learned_epsilon=False, **k):
            layers.Layer.__init__(self, **k)
            self.epsilon, self.axis = epsilon, list(axis)
            self.learned = learned_epsilon

        def build(self, shape):
            one = (1, 1, 1, shape[-1])
            self.gamma = self.add_weight(shape=one, name="gamma")
            self.beta = self.add_weight(shape=one, name="beta")
            self.e = self.add_weight(shape=(1,), name="learned_epsilon")

        def call(self, x):
            square = keras.ops.mean(x * x, (1, 2), keepdims=True)
            e = self.epsilon + keras.ops.abs(self.e)
            return self.gamma * x * keras.ops.rsqrt(square + e) + self.beta

        def get_config(self):
            return {
                "name": self.name,
                "epsilon": self.epsilon,
                "axis": self.axis,
                "learned_epsilon": self.learned,
                "gamma_regularizer": None,
            }

        members = dict(__init__=init, build=build, call=call)
        cls = stand_in(
            "FilterResponseNormalization",
            layers.Layer,
            get_config=get_config,
            **members,
        )
        model = shaken(
            keras.Sequential(
                [keras.Input((4, 4, 6)), cls(learned_epsilon=True)]
            )
        )
        made, report = convert(model, "ours", return_report=True)
        assert type(made.layers[0]) is kn.layers.FilterResponseNormalization
        assert not report.losses
        data = inputs((2, 4, 4, 6), 1)[0]
        assert difference(made, model, data) <= ROUNDING


class TestNames:
    def test_synchronized_and_back(self):
        model = network()
        made, report = convert(model, "synchronized", return_report=True)
        batch = [c for c in report.changes if "BatchN" in c.before]
        assert len(batch) == 5 == len(report.converted)
        assert batch[0].after == (
            "keras_norm.BatchNormalization(synchronized=True)"
        )
        assert "several samples" in str(report.kept[0])
        assert made.get_layer("shared").synchronized
        assert difference(made, model, inputs()) <= ROUNDING
        back, report = convert(made, "local", return_report=True)
        assert len(report.converted) == 5
        assert not back.get_layer("shared").synchronized
        assert difference(back, made, inputs()) == 0
        # Once more changes nothing, and says so.
        _, report = convert(back, "local", return_report=True)
        assert not report.converted and "local already" in str(report)

    def test_frozen(self):
        model = network()
        ours = quietly(model, "ours")
        for source in (model, ours):
            made, report = convert(source, "frozen", return_report=True)
            assert len(report.converted) == 5
            frozen = made.get_layer("shared")
            assert type(frozen) is kn.layers.FrozenBatchNormalization
            assert not frozen.trainable_weights
            assert difference(made, model, inputs()) <= ROUNDING

    def test_frozen_is_what_the_layer_computes(self):
        # Steps of their own: one scales the layer, one mixes, one fuses.
        x = inputs_ = keras.Input((2, 6))
        x = kn.layers.OnlineNormalization(name="online")(x)
        x = kn.layers.SwitchableNormalization(name="switchable")(x)
        x, _, _ = kn.layers.KalmanNormalization(name="kalman")(x)
        x = kn.layers.BatchRenormalization(name="renorm", epsilon=1e-2)(x)
        x = kn.layers.LayerNormalization(name="layer")(x)
        model = shaken(keras.Model(inputs_, x))
        made, report = convert(model, "frozen", return_report=True)
        assert [c.path for c in report.converted] == ["renorm"]
        assert len(report.kept) == 4
        assert all("not known to be one scale" in str(c) for c in report.kept)
        assert difference(made, model, inputs(n=1)[0]) <= ROUNDING

    @pytest.mark.parametrize(
        "cls, to",
        [
            (layers.BatchNormalization, "ours"),
            (kn.layers.BatchNormalization, "synchronized"),
        ],
    )
    def test_updates_are_not_known_afterwards(self, cls, to):
        model = keras.Sequential([keras.Input((4,)), cls(name="n")])
        made = quietly(shaken(model), to)
        # Inference after one more update is not too early: no warning.
        x = np.ones((3, 4), "float32")
        made(x, training=True)
        made(x)
        (row,) = kn.tools.report(made)
        assert row.updates is None

    def test_some_classes(self):
        made = quietly(network(), {layers.BatchNormalization: "frozen"})
        assert type(made.get_layer("rms")) is layers.RMSNormalization


class TestTargets:
    def model(self, **options):
        norm = layers.BatchNormalization(name="n", **options)
        return shaken(keras.Sequential([keras.Input((4, 4, 6)), norm]))

    def test_a_class(self):
        model = self.model(
            epsilon=1e-2, center=False, gamma_regularizer="l2", momentum=0.3
        )
        keys = {layers.BatchNormalization: kn.layers.InstanceNormalization}
        layer = convert(model, keys).get_layer("n")
        assert layer.epsilon == 1e-2 and layer.beta is None
        assert layer.gamma_regularizer is not None
        old = model.layers[0].gamma
        assert np.array_equal(array(layer.gamma), array(old))

    def test_a_template(self):
        # What it sets wins, the rest is of the layer.
        template = kn.layers.GroupNormalization(3, epsilon=1e-7)
        keys = {layers.BatchNormalization: template}
        model = self.model(epsilon=1e-2, scale=False)
        layer = convert(model, keys).get_layer("n")
        assert layer is not template
        assert layer.groups == 3 and layer.epsilon == 1e-7
        assert not layer.scale
        template = kn.layers.GroupNormalization(3)
        keys = {layers.BatchNormalization: template}
        assert convert(model, keys).get_layer("n").epsilon == 1e-2

    def test_a_function(self):
        model = self.model()
        made, report = convert(
            model,
            {
                layers.BatchNormalization: lambda layer: (
                    kn.layers.GroupNormalization(layer.gamma.shape[0] // 2)
                )
            },
            return_report=True,
        )
        assert made.get_layer("n").groups == 3 and not report.losses
        made, report = convert(
            model,
            {layers.BatchNormalization: lambda layer: None},
            return_report=True,
        )
        assert type(made.get_layer("n")) is layers.BatchNormalization
        assert report.kept[0].notes == ("the function returned None",)
        assert difference(made, model, inputs((2, 4, 4, 6), 1)[0]) == 0

    def test_keras_layers_are_targets_too(self):
        keys = {kn.layers.BatchNormalization: layers.LayerNormalization}
        made = convert(convert(self.model(), "ours"), keys)
        assert type(made.get_layer("n")) is layers.LayerNormalization

    def test_statistics_in_another_form(self):
        keys = {layers.BatchNormalization: kn.layers.BatchRenormalization}
        model = self.model(epsilon=1e-2)
        layer = convert(model, keys).get_layer("n")
        variance = array(model.layers[0].moving_variance)
        assert np.allclose(
            array(layer.moving_stddev), np.sqrt(variance + 1e-2), rtol=1e-6
        )

    def test_losses_are_told(self):
        keys = {kn.layers.EvoNorm: kn.layers.BatchNormalization}
        norm = kn.layers.EvoNorm("S0", groups=2)
        model = keras.Sequential([keras.Input((4, 4, 6)), norm])
        with pytest.warns(UserWarning) as told:
            convert(model, keys)
        text = str(told[0].message)
        assert "nonlinearity=True has no counterpart" in text
        assert "moving_mean, moving_variance as in a new layer" in text

    def test_subclasses_are_kept_and_told(self):
        model = shaken(keras.Sequential([keras.Input((4,)), Own(name="own")]))
        for to in ("ours", "synchronized", "frozen"):
            with pytest.warns(UserWarning, match="is a subclass of BatchNorm"):
                made = convert(model, to)
            assert type(made.get_layer("own")) is Own
        with pytest.raises(ValueError, match="`to` must name the class"):
            convert(model, {layers.BatchNormalization: "ours"})
        made = convert(model, {Own: kn.layers.BatchNormalization})
        assert difference(made, model, inputs((3, 4), 1)[0]) <= ROUNDING


class TestErrors:
    @pytest.mark.parametrize(
        "to, message",
        [
            ("frozn", "Did you mean 'frozen'"),
            ({}, "must be a dictionary"),
            (None, "must be a dictionary"),
            ({"BatchNormalization": "ours"}, "keys of `to`"),
            ({layers.BatchNormalization: 3}, "values of `to`"),
            ({kn.layers.RMSNormalization: "local"}, "two classes"),
            (
                {layers.BatchNormalization: kn.layers.GroupNormalization},
                "'n' cannot become a GroupNormalization: .*32",
            ),
            (
                {layers.BatchNormalization: kn.layers.KalmanNormalization},
                "cannot become a KalmanNormalization: its outputs differ, 3",
            ),
            (
                {layers.BatchNormalization: lambda layer: layer},
                "must return a new layer",
            ),
            (
                {layers.BatchNormalization: lambda layer: "group"},
                "must return a layer or None",
            ),
        ],
    )
    def test_arguments(self, to, message):
        norm = layers.BatchNormalization(name="n")
        model = keras.Sequential([keras.Input((4, 6)), norm])
        with pytest.raises(ValueError, match=message):
            convert(model, to)

    def test_models(self):
        class Unbuilt(keras.Model):
            pass

        class Graph(keras.Model):
            def __init__(self, width):
                x = keras.Input((width,))
                super().__init__(x, layers.BatchNormalization()(x))

        class Hidden(keras.Model):
            def __init__(self, layer):
                super().__init__()
                self.norm = layer

            def call(self, x):
                return self.norm(x)

            def get_config(self):
                raise NotImplementedError("no config")

        with pytest.raises(ValueError, match="must be built"):
            convert(Unbuilt(), "ours")
        with pytest.raises(ValueError, match="must be a keras.Model"):
            convert(layers.Dense(2), "ours")
        with pytest.raises(ValueError, match="own graph.*Graph"):
            convert(Graph(3), "ours")
        hidden = Hidden(layers.BatchNormalization())
        hidden(np.ones((2, 3)))
        with pytest.raises(ValueError, match="Hidden that cannot be copied"):
            convert(hidden, "ours")
