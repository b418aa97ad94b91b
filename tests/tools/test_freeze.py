"""Frozen statistics and affine parameters."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn

freeze = kn.tools.freeze


def array(x):
    return keras.ops.convert_to_numpy(x)


def data():
    random = np.random.default_rng(0)
    x = random.standard_normal((6, 5, 4)).astype("float32")
    return x, np.ones((6, 5, 4), "float32")


def network(kind=kn.layers.BatchNormalization):
    """A normalization at the top, nested, in a wrapper."""
    inner = keras.Sequential(
        [keras.Input((5, 4)), kind(name="inner")], name="nest"
    )
    return keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.Dense(4, name="dense"),
            kind(name="top"),
            inner,
            layers.TimeDistributed(kind(name="step"), name="steps"),
            kn.layers.LayerNormalization(name="layer"),
        ]
    )


def moving(model):
    return [array(w).copy() for w in model.weights if "moving" in w.name]


def affine(model):
    return [
        array(w).copy() for w in model.weights if w.name in ("gamma", "beta")
    ]


def state_of(layer):
    return [
        array(w).copy()
        for w in layer.weights
        if w.name not in ("gamma", "beta")
    ]


def same(before, after):
    return [np.array_equal(a, b) for a, b in zip(before, after, strict=True)]


class TestStatistics:
    def test_training_with_them_is_inference(self):
        # Whatever the statistics are, not the batch's.
        model, (x, _) = network(), data()
        inference = array(model(x))
        assert np.abs(array(model(x, training=True)) - inference).max() > 0.1
        changes = freeze(model)
        assert [str(c) for c in changes][1] == (
            "nest/inner: BatchNormalization, statistics frozen, affine free"
        ) and len(changes) == 3
        before = moving(model)
        difference = array(model(x, training=True)) - array(model(x))
        assert np.abs(difference).max() <= 1e-6
        assert all(same(before, moving(model)))
        # And again: nothing is left to be changed.
        assert freeze(model) == []
        assert len(freeze(model, statistics=False)) == 3
        assert np.abs(array(model(x, training=True)) - inference).max() > 0.1

    @pytest.mark.parametrize(
        "jit",
        [
            # A graph on TensorFlow, compiled on JAX.
            "auto",
            pytest.param(True, marks=[pytest.mark.all, pytest.mark.compile]),
        ],
    )
    def test_a_compiled_model_notices(self, jit):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(4, name="dense"),
                kn.layers.BatchNormalization(),
                keras.Sequential(
                    [keras.Input((4,)), kn.layers.BatchNormalization()]
                ),
            ]
        )
        x, y = (part[:, 0] for part in data())
        model.compile("adam", "mse", jit_compile=jit)
        model.fit(x, y, verbose=0)
        statistics, learned = moving(model), affine(model)
        freeze(model)
        model.fit(x, y, verbose=0)
        assert all(same(statistics, moving(model)))
        assert not any(same(learned, affine(model)))
        learned = affine(model)
        steps = int(model.optimizer.iterations)
        freeze(model, statistics=False, affine=True)
        model.fit(x, y, verbose=0)
        assert not any(same(statistics, moving(model)))
        assert all(same(learned, affine(model)))
        assert int(model.optimizer.iterations) == steps + 1
        assert model.trainable_weights == model.get_layer("dense").weights

    def test_is_saved_and_of_copies(self, tmp_path):
        model, (x, _) = network(), data()
        freeze(model, affine=True, layers=["top", "step", "layer"])
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        copy = kn.tools.convert(model, "synchronized")
        for made in (again, copy, keras.models.clone_model(model)):
            assert made.get_layer("top").freeze_statistics
            assert made.get_layer("top").freeze_affine
            assert made.get_layer("steps").layer.freeze_statistics
            assert not made.get_layer("nest").layers[0].freeze_statistics
            assert [w.name for w in made.trainable_weights] == [
                "kernel",
                "bias",
                "gamma",
                "beta",
            ]
            before = moving(made)
            made(x, training=True)
            kept = same(before, moving(made))
            assert kept == [True] * 2 + [False] * 2 + [True] * 2
        config = network().get_layer("top").get_config()
        assert not {"freeze_statistics", "freeze_affine"} & set(config)

    def test_trainable_does_not_undo_it(self):
        model = network()
        freeze(model, affine=True)
        model.trainable = False
        model.trainable = True
        assert len(model.trainable_weights) == 2
        freeze(model, False, False)
        assert len(model.trainable_weights) == 10
        model.trainable = False
        freeze(model, affine=True)
        freeze(model, affine=False)
        assert not any(w.trainable for w in model.get_layer("top").weights)

    def test_none_leaves_it(self):
        model = network()
        freeze(model, statistics=True, affine=True)
        freeze(model, statistics=None, affine=False)
        layer = model.get_layer("top")
        assert layer.freeze_statistics and not layer.freeze_affine

    def test_what_is_not_named_stays(self):
        # Frozen by hand: a layer of Keras, a weight of ours.
        model = network()
        other = layers.LayerNormalization(trainable=False)
        model.add(other)
        layer = model.get_layer("top")
        layer.gamma.trainable = False
        freeze(model)
        freeze(model, statistics=False)
        freeze(model, statistics=None)
        assert not other.trainable and not layer.gamma.trainable
        assert layer.beta.trainable

    def test_of_copies_of_a_class_that_makes_its_layers(self):
        class Net(keras.Model):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.norm = kn.layers.BatchNormalization(name="norm")
                self.other = kn.layers.LayerNormalization(name="other")

            def call(self, x, training=None):
                return self.other(self.norm(x, training=training))

            def get_config(self):
                return {"name": self.name}

        model = Net(name="net")
        model(data()[0])
        freeze(model, affine=True)
        to = {kn.layers.LayerNormalization: kn.layers.RMSNormalization}
        made, _ = kn.tools.convert(model, to, return_report=True)
        assert made.norm.freeze_statistics and made.norm.freeze_affine
        assert not made.trainable_weights


def compiled(layer, optimizer):
    """A small model that has been trained for a step."""
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="dense"), layer]
    )
    model.compile(optimizer, "mse", jit_compile=False)
    step(model)
    return model


def step(model):
    """One training step."""
    x, y = (part[:, 0] for part in data())
    model.fit(x, y, verbose=0)


class TestOptimizers:
    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda: keras.optimizers.Adam(gradient_accumulation_steps=2),
            lambda: keras.optimizers.LossScaleOptimizer(
                keras.optimizers.SGD(0.1, 0.9), initial_scale=8.0
            ),
        ],
    )
    def test_counts_and_scales_go_on(self, optimizer):
        layer = kn.layers.BatchNormalization()
        model = compiled(layer, optimizer())
        old = model.optimizer
        scaled = hasattr(old, "dynamic_scale")
        if scaled:
            old.dynamic_scale.assign(2.0)
        freeze(model, affine=True)
        new = model.optimizer
        assert new is not old
        if scaled:
            assert float(new.dynamic_scale) == 2.0
            assert int(new.step_counter) == 1
            new, old = new.inner_optimizer, old.inner_optimizer
        assert int(new._iterations) == int(old._iterations) == 1
        step(model)
        assert int(new._iterations) == 2

    def test_an_error_leaves_the_model(self):
        layer = kn.layers.OnlineNormalization()
        layer.freeze_statistics = True
        model = compiled(
            layer, keras.optimizers.Adam(gradient_accumulation_steps=2)
        )
        optimizer = model.optimizer
        trainable = [w.trainable for w in model.weights]
        # What is let go cannot be trained by this optimizer.
        with pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
            freeze(model, statistics=False)
        assert layer.freeze_statistics and model.optimizer is optimizer
        assert [w.trainable for w in model.weights] == trainable
        step(model)


class TestKeras:
    def test_both_or_none(self):
        model, (x, _) = network(layers.BatchNormalization), data()
        with pytest.raises(ValueError, match=r"convert\(model, 'ours'\)"):
            freeze(model)
        # Nothing is changed then, not of our layers either.
        assert not model.get_layer("layer").freeze_affine
        assert len(model.trainable_weights) == 10
        freeze(model, affine=True)
        assert len(model.trainable_weights) == 2
        assert not model.get_layer("top").trainable
        before = moving(model)
        model(x, training=True)
        assert all(same(before, moving(model)))
        freeze(model, False, False)
        assert len(model.trainable_weights) == 10
        # Without gamma and beta there is nothing that could differ.
        bare = layers.BatchNormalization(center=False, scale=False)
        freeze(keras.Sequential([keras.Input((4,)), bare]))
        assert not bare.trainable


class TestArguments:
    @pytest.mark.parametrize(
        "which, names",
        [
            ("top", ["top"]),
            (["step", "inner"], ["inner", "step"]),
            (kn.layers.LayerNormalization, ["layer"]),
            (lambda layer: layer.name.startswith("t"), ["top"]),
        ],
    )
    def test_layers(self, which, names):
        changes = freeze(network(), affine=True, layers=which)
        assert [c.path.split("/")[-1] for c in changes] == names

    def test_a_layer_without_a_switch(self):
        model = keras.Sequential(
            [
                keras.Input((5, 4)),
                kn.layers.BatchNormalization(name="norm"),
                kn.layers.BatchNormalizedLSTM(2, name="lstm"),
            ]
        )
        with pytest.raises(ValueError, match="'lstm', a BatchNormalizedLSTM"):
            freeze(model)
        assert not model.layers[0].freeze_statistics
        assert len(freeze(model, layers="norm")) == 1

    def test_errors(self):
        for wrong in (3, [3], layers.Dense(2)):
            with pytest.raises(ValueError, match="`layers` must be a name"):
                freeze(network(), layers=wrong)
        with pytest.raises(ValueError, match="`layers` must be one of"):
            freeze(network(), layers="tpo")
        with pytest.raises(ValueError, match="that `layers` selects"):
            freeze(network(), layers=kn.layers.EvoNorm)
        with pytest.raises(ValueError, match="must have normalization layers"):
            freeze(keras.Sequential([keras.Input((4,)), layers.Dense(2)]))
        with pytest.raises(ValueError, match="must be a keras.Model"):
            freeze(layers.Dense(2))


class TestEveryLayer:
    """Whatever a layer keeps from batch to batch stays what it is."""

    @pytest.mark.parametrize(
        "name",
        [
            "BatchGroupNormalization",
            "BatchNormalization",
            "ChannelDeconvolution",
            "ConditionalBatchNormalization",
            "DecorrelatedBatchNormalization",
            "EvoNorm",
            "IterativeNormalization",
            "MeanOnlyBatchNormalization",
            "PopulationBatchNormalization",
            "SwitchableNormalization",
        ],
    )
    def test_its_state(self, name):
        options = {
            "BatchGroupNormalization": {"groups": 2},
            "ConditionalBatchNormalization": {"num_classes": 2},
        }.get(name, {})
        layer = getattr(kn.layers, name)(**options)
        x = np.random.default_rng(0).standard_normal((6, 3, 3, 4))
        x = x.astype("float32")
        x = [x, np.zeros(6, "int32")] if "Conditional" in name else x
        layer(x)
        assert layer.has_statistics()
        before = [array(w).copy() for w in layer.weights]
        layer.freeze_statistics = True
        difference = array(layer(x, training=True)) - array(layer(x))
        assert np.abs(difference).max() <= 1e-6
        assert all(same(before, [array(w) for w in layer.weights]))
        layer.freeze_statistics = False
        layer(x, training=True)
        assert not all(same(before, [array(w) for w in layer.weights]))

    @pytest.mark.parametrize(
        "name",
        [
            "OnlineNormalization",
            "PowerNormalization",
            "MovingAverageBatchNormalization",
        ],
    )
    def test_its_backward_state(self, name):
        layer = getattr(kn.layers, name)()
        model = compiled(layer, "sgd")
        backward = [
            w
            for w in layer.weights
            if getattr(w, "overwrite_with_gradient", False)
        ]
        assert any(np.any(array(w)) for w in backward)
        learned = affine(model)
        before = state_of(layer)
        freeze(model)
        step(model)
        assert all(same(before, state_of(layer)))
        assert not all(same(learned, affine(model)))
        # Frozen before there are weights, too.
        names = {w.name for w in model.trainable_weights}
        assert names <= {"kernel", "bias", "gamma", "beta"}
        copy = keras.models.clone_model(model)
        assert {w.name for w in copy.trainable_weights} == names
        freeze(model, statistics=False)
        assert all(w.trainable for w in backward)
