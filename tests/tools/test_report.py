"""The report on normalization layers, against what is known of the model."""

import keras
import numpy as np
import pytest

import keras_norm as kn

RNG = np.random.default_rng(0)
X = RNG.normal(3.0, 2.0, (40, 4)).astype("float32")


def model_of(*layers):
    return keras.Sequential([keras.Input((4,)), *layers])


def test_updates_and_what_they_need():
    ours = kn.layers.BatchNormalization(momentum=0.9, name="ours")
    frozen = kn.layers.FrozenBatchNormalization(name="frozen")
    keras_own = keras.layers.BatchNormalization(name="keras_own")
    model = model_of(ours, keras.layers.Dense(4), frozen, keras_own)
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(X, X, batch_size=8, epochs=1, verbose=0)
    rows = {row.name: row for row in kn.tools.report(model)}
    assert list(rows) == ["ours", "frozen", "keras_own"]
    assert (rows["ours"].updates, rows["ours"].needed) == (5, 30)
    assert (rows["keras_own"].updates, rows["keras_own"].needed) == (5, 300)
    assert rows["frozen"].frozen and not rows["frozen"].trainable
    assert not rows["ours"].frozen and rows["ours"].trainable
    assert rows["ours"].mean_gap is None
    # Statistics of the whole set are not those of some number of updates.
    kn.tools.recompute_statistics(model, X)
    assert {r.name: r.updates for r in kn.tools.report(model)}["ours"] is None


@pytest.mark.parametrize(
    "cls", [kn.layers.BatchNormalization, keras.layers.BatchNormalization]
)
def test_gaps_are_those_of_the_data(cls):
    model = model_of(cls(name="first"))
    layer = model.layers[0]
    layer.moving_mean.assign([1.0, 2.0, 3.0, 4.0])
    layer.moving_variance.assign([4.0, 1.0, 4.0, 16.0])
    before = [w.copy() for w in model.get_weights()]
    (row,) = kn.tools.report(model, X, batch_size=16)
    x = X.astype("float64")
    mean, variance = x.mean(0), x.var(0)
    gap = np.abs(mean - [1, 2, 3, 4]) / [2, 1, 2, 4]
    ratio = np.abs(np.log(variance / [4, 1, 4, 16]))
    np.testing.assert_allclose(row.mean_gap, gap.mean(), rtol=1e-5)
    np.testing.assert_allclose(row.variance_gap, ratio.mean(), rtol=1e-5)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class Cell(keras.layers.Layer):
    """A recurrent cell with statistics."""

    state_size = 4

    def build(self, shape):
        self.norm = kn.layers.BatchNormalization(name="any")
        self.norm.build(shape)

    def call(self, x, states):
        h = self.norm(x) + states[0]
        return h, [h]


@pytest.mark.parametrize(
    "shape, layer",
    [
        # Only a training step measures these; frozen, none may.
        (
            (4,),
            lambda: kn.layers.StochasticBatchNormalization(
                name="any", trainable=False
            ),
        ),
        (
            (3, 3, 4),
            lambda: kn.layers.FineGrainedConv2D(4, 1, groups=2, name="any"),
        ),
        ((2, 4), lambda: kn.layers.BatchNormalizedLSTM(3, name="any")),
        # No batch can be added to a state of matrices, nor found in a cell.
        (
            (4,),
            lambda: kn.layers.IterativeNormalization(name="any"),
        ),
        ((2, 4), lambda: keras.layers.RNN(Cell(), unroll=True)),
    ],
)
def test_every_layer_with_statistics_has_a_row(shape, layer):
    model = keras.Sequential(
        [keras.Input(shape), kn.layers.BatchNormalization(name="bn"), layer()]
    )
    x = RNG.normal(size=(6, *shape)).astype("float32")
    before = [w.copy() for w in model.get_weights()]
    for data in (None, x):
        first, row = kn.tools.report(model, data)
        assert (first.name, row.name) == ("bn", "any")
        assert row.mean_gap is None and row.variance_gap is None
        assert (first.mean_gap is None) == (data is None)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_it_prints_as_a_table():
    layer = kn.layers.BatchNormalization(momentum=0.9, name="bn")
    model = model_of(layer)
    text = str(kn.tools.report(model, X))
    head, row = text.splitlines()
    assert head.split("  ")[0] == "layer"
    assert head.endswith("variance gap")
    assert row.startswith("bn ")


def test_a_model_without_statistics_is_refused():
    with pytest.raises(ValueError, match="must have normalization layers"):
        kn.tools.report(model_of(kn.layers.LayerNormalization()))
