"""Statistics of whole data sets."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from keras_norm.core.update_count import StatisticsWarning
from tools.statistics_models import array
from tools.statistics_models import chain
from tools.statistics_models import data
from tools.statistics_models import moments
from tools.statistics_models import reference
from tools.statistics_models import same
from tools.statistics_models import state
from tools.statistics_models import statistics

recompute = kn.tools.recompute_statistics
# float32 data and matrix products of four terms: some units of 2^-24 of what
# is summed, the largest some 10.
TOLERANCE = 1e-5


class TestPopulation:
    @pytest.mark.parametrize("kind", ["keras", "ours"])
    def test_equals_the_whole_set(self, kind):
        """Also behind another normalization, with a short last batch."""
        model, x = chain(kind), data()
        before = state(model)
        references = reference(model, x, 16)
        assert recompute(model, x, batch_size=16) == ["first", "second"]
        for name, (mean, variance, _) in zip(
            ("first", "second"), references, strict=True
        ):
            found = statistics(model.get_layer(name))
            assert np.abs(found[0] - mean).max() <= TOLERANCE
            assert np.abs(found[1] / variance - 1).max() <= TOLERANCE
        # Nothing else has changed.
        after = state(model)
        assert before[1:] == after[1:]
        for v, old in zip(model.variables, before[0], strict=True):
            assert "moving" in v.name or np.array_equal(old, array(v))

    def test_mean_of_batches(self):
        model, x = chain(), data()
        references = reference(model, x, 16)
        recompute(model, x, batch_size=16, mode="mean_of_batches")
        for name, (mean, _, within) in zip(
            ("first", "second"), references, strict=True
        ):
            found = statistics(model.get_layer(name))
            assert np.abs(found[0] - mean).max() <= TOLERANCE
            assert np.abs(found[1] / within - 1).max() <= TOLERANCE

    def test_reset(self):
        """The statistics so far count as one more batch."""
        model, x = chain(), data(48)
        layer = model.get_layer("first")
        mean, variance = statistics(layer)
        recompute(model, x, batch_size=16, reset=False)
        x = x.astype("float64")
        together = 0.25 * mean + 0.75 * x.mean(axis=0)
        square = 0.25 * (variance + mean**2) + 0.75 * np.mean(x**2, axis=0)
        found = statistics(layer)
        assert np.abs(found[0] - together).max() <= TOLERANCE
        expected = square - together**2
        assert np.abs(found[1] / expected - 1).max() <= TOLERANCE

    @pytest.mark.parametrize("offset", [1e4])
    def test_large_means(self, offset):
        model = keras.Sequential(
            [keras.Input((4,)), kn.layers.BatchNormalization()]
        )
        x = (data(96) + offset).astype("float32")
        recompute(model, x, batch_size=32)
        expected = x.astype("float64").var(axis=0)
        found = statistics(model.layers[0])[1]
        assert np.abs(found / expected - 1).max() <= TOLERANCE

    def test_of_unbiased_variances(self):
        layer = kn.layers.BatchNormalization(unbiased_moving_variance=True)
        model = keras.Sequential([keras.Input((4,)), layer])
        x = data()
        recompute(model, x, batch_size=16)
        expected = x.astype("float64").var(axis=0, ddof=1)
        assert np.abs(statistics(layer)[1] / expected - 1).max() <= TOLERANCE


class TestMasks:
    @pytest.mark.parametrize(
        "norm", [layers.BatchNormalization, kn.layers.BatchNormalization]
    )
    def test_masked_entries_do_not_count(self, norm):
        tokens = np.array([[1, 2, 0], [3, 0, 0], [2, 1, 4], [0, 0, 0]])
        embedding = layers.Embedding(5, 4, mask_zero=True)
        inputs = keras.Input((3,), dtype="int32")
        layer = norm()
        model = keras.Model(inputs, layer(embedding(inputs)))
        recompute(model, tokens, batch_size=2)
        seen = array(embedding.embeddings)[tokens[tokens > 0]]
        mean, variance = statistics(layer)
        assert np.abs(mean - seen.mean(axis=0)).max() <= TOLERANCE
        assert np.abs(variance / seen.var(axis=0) - 1).max() <= TOLERANCE


IMAGES = (12, 5, 5, 8)
# Layers that in training normalize by the batch alone.
OF_THE_BATCH = {
    "range": lambda: kn.layers.RangeBatchNormalization(),
    "lp": lambda: kn.layers.LpBatchNormalization(p=1),
    "median": lambda: kn.layers.GeneralizedBatchNormalization("mad"),
    "mean": lambda: kn.layers.MeanOnlyBatchNormalization(),
    "scale": lambda: kn.layers.ScaleOnlyBatchNormalization(),
    "deviation": lambda: kn.layers.ScaleOnlyBatchNormalization(
        centered_variance=True
    ),
    "groups": lambda: kn.layers.BatchGroupNormalization(groups=4),
    "pieces": lambda: kn.layers.BatchGroupNormalization(groups=5, mode="flat"),
    "activation": lambda: kn.layers.EvoNorm("B0"),
    "switchable": lambda: kn.layers.SwitchableNormalization(),
    "whitening": lambda: kn.layers.DecorrelatedBatchNormalization(group_size=3),
    "newton": lambda: kn.layers.IterativeNormalization(group_size=4),
    "domains": lambda: kn.layers.DomainWhitening(num_domains=1),
    "switchable whitening": lambda: kn.layers.SwitchableWhitening(group_size=4),
    "channels": lambda: kn.layers.ChannelDeconvolution(block=4),
    "convolution": lambda: kn.layers.DeconvolutionConv2D(4, 3),
    "renorm": lambda: kn.layers.BatchNormalization(renorm=True),
    "renormalization": lambda: kn.layers.BatchRenormalization(),
    "momentum": lambda: kn.layers.MomentumBatchNormalization(),
    "memory": lambda: kn.layers.MemorizedBatchNormalization(memory_size=1),
    "stochastic": lambda: kn.layers.StochasticBatchNormalization(
        inference="moving"
    ),
    "widths": lambda: kn.layers.SwitchableBatchNormalization((4, 8)),
    "power": lambda: kn.layers.PowerNormalization(groups=2),
    "fine-grained": lambda: kn.layers.FineGrainedConv2D(4, 3, groups=2),
    "axis": lambda: kn.layers.BatchNormalization(axis=1),
}


# Of every kind of reading one; the others compile long.
LONG = (
    "lp",
    "median",
    "scale",
    "deviation",
    "pieces",
    "convolution",
    "whitening",
    "switchable whitening",
    "renormalization",
    "momentum",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.all if name in LONG else ())
        for name in OF_THE_BATCH
    ],
)
def test_one_batch_is_inferred_as_trained(name):
    layer = OF_THE_BATCH[name]()
    model = keras.Sequential([keras.Input(IMAGES[1:]), layer])
    random = np.random.default_rng(2)
    x = random.standard_normal(IMAGES) * np.linspace(0.5, 2, 8) + 1
    x = x.astype("float32")
    assert recompute(model, x, batch_size=12) == [layer.name]
    inferred, trained = array(model(x)), array(model(x, training=True))
    # Stochastic adds 1e-6 to the variances of its logarithms.
    assert np.abs(inferred - trained).max() <= 2e-5 * np.abs(trained).max()


@pytest.mark.parametrize(
    "name, options",
    [
        ("GhostBatchNormalization", {"virtual_batch_size": 3}),
        ("PopulationBatchNormalization", {}),
        ("FullNormalization", {}),
        ("OnlineNormalization", {}),
        ("KalmanNormalization", {}),
        ("CrossIterationBatchNormalization", {}),
    ],
)
def test_whatever_training_normalizes_by(name, options):
    """Inference reads moving mean and variance: those of the data."""
    layer = getattr(kn.layers, name)(**options)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layer(inputs))
    x = data()
    recompute(model, x, batch_size=16)
    mean, variance, _ = moments([x])
    if name == "CrossIterationBatchNormalization":
        # Its state is unbiased, as the authors'.
        variance = variance * 50 / 49
    found = statistics(layer)
    assert np.abs(found[0] - mean).max() <= TOLERANCE
    assert np.abs(found[1] / variance - 1).max() <= TOLERANCE


class TestOfTheKernel:
    """What a kernel of the layer's own makes is measured, not its input."""

    def test_cross_iteration_dense(self):
        layer = kn.layers.CrossIterationDense(3, use_bias=True)
        model = keras.Sequential([keras.Input((2, 4)), layer])
        layer.bias.assign(np.array([1.0, -2.0, 3.0]))
        x = data(50).reshape(25, 2, 4)
        recompute(model, x, batch_size=10)
        h = x.astype("float64") @ array(layer.kernel) + array(layer.bias)
        self.check(layer, h)

    @pytest.mark.parametrize("first", [False, True])
    def test_cross_iteration_conv2d(self, first):
        layer = kn.layers.CrossIterationConv2D(
            3, 2, data_format="channels_first" if first else "channels_last"
        )
        shape = (4, 3, 3) if first else (3, 3, 4)
        model = keras.Sequential([keras.Input(shape), layer])
        x = data(45).reshape(5, 3, 3, 4)
        recompute(model, np.moveaxis(x, -1, 1) if first else x, batch_size=2)
        wide, kernel = x.astype("float64"), array(layer.kernel)
        h = sum(
            wide[:, i : i + 2, j : j + 2] @ kernel[i, j]
            for i in (0, 1)
            for j in (0, 1)
        )
        self.check(layer, h)

    @staticmethod
    def check(layer, h):
        h = np.reshape(h, (-1, h.shape[-1]))
        mean, variance = statistics(layer)
        # Sums of up to 16 terms of some units each.
        assert np.abs(mean - h.mean(axis=0)).max() <= TOLERANCE
        expected = h.var(axis=0, ddof=1)
        assert np.abs(variance / expected - 1).max() <= TOLERANCE


@pytest.mark.parametrize("listed", [False, True])
def test_predicted_statistics_are_fused(listed):
    """Kalman normalization is inferred as it is trained."""
    one, two = (kn.layers.KalmanNormalization(keep=0.7) for _ in range(2))
    inputs = keras.Input((4,))
    y, mean, variance = one(inputs)
    mean, variance = mean + 0.5, 2.0 * variance
    hidden = 3.0 * y + 1.0
    y, *_ = two([hidden, mean, variance]) if listed else two(
        hidden, mean=mean, variance=variance
    )  # fmt: skip
    model, x = keras.Model(inputs, y), data()
    recompute(model, x, batch_size=50)
    mean, variance, _ = moments([x])
    # By the formula, of h = 3 z + 1 and z of nearly variance 1.
    spread = variance / (variance + 1e-5)
    expected = 0.7 * 2 * variance + 0.3 * 9 * spread
    expected = expected + 0.21 * (1 - (mean + 0.5)) ** 2
    assert np.abs(statistics(two)[1] / expected - 1).max() <= TOLERANCE
    inferred, trained = array(model(x)), array(model(x, training=True))
    assert np.abs(inferred - trained).max() <= TOLERANCE


class TestWhitening:
    def test_covariance_of_all_batches(self):
        """And the matrix that belongs to it."""
        layer = kn.layers.DecorrelatedBatchNormalization(epsilon=1e-3)
        model = keras.Sequential([keras.Input((4,)), layer])
        x = data()
        recompute(model, x, batch_size=16)
        covariance = np.cov(x.T.astype("float64"), bias=True)
        covariance = covariance + 1e-3 * np.eye(4)
        found = array(layer.moving_covariance)[0]
        assert np.abs(found - covariance).max() <= TOLERANCE * 4
        matrix = array(layer.whitening_matrix)[0]
        unit = matrix @ covariance @ matrix.T
        # The root in float32 of a covariance of condition 100.
        assert np.abs(unit - np.eye(4)).max() <= 1e-4

    def test_every_domain_its_own(self):
        layer = kn.layers.DomainWhitening(num_domains=3, group_size=2)
        x, domain = keras.Input((4,)), keras.Input((), dtype="int32")
        model = keras.Model([x, domain], layer([x, domain]))
        values = data(24)
        labels = np.arange(24) % 2
        recompute(model, [values, labels], batch_size=10)
        for d in (0, 1):
            own = values[labels == d].astype("float64")
            mean = array(layer.moving_mean)[d]
            assert np.abs(mean - own.mean(axis=0)).max() <= TOLERANCE
            found = array(layer.moving_covariance)[d, 0]
            expected = np.cov(own[:, :2].T, bias=True)
            assert np.abs(found - expected).max() <= TOLERANCE
        # Nothing was seen of the third.
        assert np.array_equal(array(layer.moving_mean)[2], np.zeros(4))
        assert np.array_equal(array(layer.whitening_matrix)[2, 0], np.eye(2))

    def test_a_state_that_cannot_go_on(self):
        model = keras.Sequential(
            [keras.Input((4,)), kn.layers.IterativeNormalization()]
        )
        with pytest.raises(ValueError, match="reset=True"):
            recompute(model, data(), reset=False)


class Subclassed(keras.Model):
    """No `training` argument, layers in a list, one of them twice."""

    def __init__(self):
        super().__init__()
        self.shared = kn.layers.BatchNormalization(name="shared")
        self.others = [layers.BatchNormalization(name="other")]

    def call(self, inputs):
        both = self.shared(inputs) + self.shared(2 * inputs)
        return self.others[0](both)


class TestPlaces:
    def test_subclassed_and_shared(self):
        model, x = Subclassed(), data()
        model(x)
        assert recompute(model, x, batch_size=50) == ["shared", "other"]
        both = moments([np.concatenate([x, 2 * x]).astype("float64")])
        mean, variance = statistics(model.shared)
        assert np.abs(mean - both[0]).max() <= TOLERANCE
        assert np.abs(variance / both[1] - 1).max() <= TOLERANCE

    def test_nested_and_distributed_over_time(self):
        inner = keras.Sequential(
            [keras.Input((4,)), layers.BatchNormalization(name="inner")]
        )
        outer = keras.Sequential(
            [
                keras.Input((3, 4)),
                layers.TimeDistributed(inner),
                kn.layers.BatchNormalization(name="outer"),
            ]
        )
        model = keras.Sequential([keras.Input((3, 4)), outer])
        x = data(60).reshape(20, 3, 4)
        assert recompute(model, x, batch_size=8) == ["inner", "outer"]
        # All time steps together.
        mean, variance, _ = moments([x.reshape(-1, 4)])
        found = statistics(inner.layers[0])
        assert np.abs(found[0] - mean).max() <= TOLERANCE
        assert np.abs(found[1] / variance - 1).max() <= TOLERANCE

    def test_bidirectional(self):
        """Statistics of every time step, of the samples that reach it."""
        layer = kn.layers.BatchNormalizedLSTM(3)
        inputs = keras.Input((3, 4))
        outputs = layers.Bidirectional(layer)(layers.Masking()(inputs))
        model = keras.Model(inputs, outputs)
        x = data(18).reshape(6, 3, 4) / 5
        x[::2, 2] = 0
        names = recompute(model, x, batch_size=6)
        assert len(names) == 2
        inferred, trained = array(model(x)), array(model(x, training=True))
        assert np.abs(inferred - trained).max() <= TOLERANCE
        # In two batches, the first of which reaches further.
        x[:4, 2] = data(4)
        forward = next(
            one for one in model._flatten_layers() if one.name == names[0]
        )
        recompute(model, x, batch_size=4)
        kernel = array(forward.cell.kernel)
        for t in range(3):
            seen = x[:, t][np.any(x[:, t] != 0, axis=-1)] @ kernel
            mean = array(forward.cell.input_moving_mean)[t]
            variance = array(forward.cell.input_moving_variance)[t]
            assert np.abs(mean - seen.mean(axis=0)).max() <= TOLERANCE
            assert np.abs(variance - seen.var(axis=0)).max() <= TOLERANCE

    def test_widths_of_a_network(self):
        layer = kn.layers.SwitchableBatchNormalization((2, 4))
        layer.build((None, 4))
        model = keras.Sequential([keras.Input((4,)), layer])
        x = data()
        recompute(model, x, batch_size=20)
        found = array(layer.moving_mean)
        assert np.abs(found[1] - x.mean(axis=0)).max() <= TOLERANCE
        assert np.array_equal(found[0], np.zeros(4))


class TestSelection:
    def test_frozen_layers(self):
        model, x = chain(), data()
        model.get_layer("first").trainable = False
        assert recompute(model, x) == ["second"]
        model.trainable = False
        with pytest.raises(ValueError, match="include_frozen"):
            recompute(model, x)
        names = recompute(model, x, include_frozen=True)
        assert names == ["first", "second"]
        assert not any(layer.trainable for layer in model.layers)
        frozen = kn.layers.FrozenBatchNormalization(name="constants")
        model = keras.Sequential([keras.Input((4,)), frozen])
        assert recompute(model, x, include_frozen=True) == ["constants"]
        mean = statistics(frozen)[0]
        assert np.abs(mean - x.mean(axis=0)).max() <= TOLERANCE

    @pytest.mark.parametrize(
        "layers",
        [
            "first",
            ["first"],
            lambda layer: layer.name == "first",
        ],
    )
    def test_some_layers(self, layers):
        model, x = chain(), data()
        before = statistics(model.get_layer("second"))
        assert recompute(model, x, layers=layers) == ["first"]
        for old, new in zip(
            before, statistics(model.get_layer("second")), strict=True
        ):
            assert np.array_equal(old, new)


class Cell(layers.Layer):
    """A recurrent cell with normalization in it."""

    state_size = 4

    def __init__(self):
        super().__init__()
        self.norm = kn.layers.BatchNormalization(name="in_a_cell")

    def build(self, shape):
        self.norm.build(shape)

    def call(self, inputs, states, training=None):
        y = self.norm(inputs, training=training) + states[0]
        return y, [y]


def test_statistics_of_few_steps_are_warned_of_no_more():
    layer = kn.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((4,)), layer])
    x = data()
    model(x, training=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StatisticsWarning)
        recompute(model, x, batch_size=16)
        model(x)


class TestErrors:
    def test_the_model_is_left_as_it_was(self):
        model = chain("ours")
        before = state(model)

        def batches():
            yield data(16)
            raise RuntimeError("The disk is full.")

        with pytest.raises(RuntimeError, match="The disk is full"):
            recompute(model, batches(), steps=3)
        assert same(before, state(model))

    def test_no_layers(self):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
        with pytest.raises(ValueError, match="must have normalization"):
            recompute(model, data())
        with pytest.raises(ValueError, match="must be built"):
            recompute(keras.Sequential([layers.BatchNormalization()]), data())

    def test_unknown_names(self):
        with pytest.raises(ValueError, match="Did you mean 'first'"):
            recompute(chain(), data(), layers="frist")
        for wrong in (3, [3]):
            with pytest.raises(ValueError, match="`layers` must be"):
                recompute(chain(), data(), layers=wrong)
        with pytest.raises(ValueError, match="`data` must be arrays"):
            recompute(chain(), "abc")
        with pytest.raises(ValueError, match="`mode` must be one of"):
            recompute(chain(), data(), mode="populations")

    def test_what_batches_do_not_determine(self):
        model = keras.Sequential(
            [keras.Input((3, 4)), layers.RNN(Cell(), unroll=True)]
        )
        with pytest.raises(ValueError, match="recurrent cells.*'in_a_cell'"):
            recompute(model, data(18).reshape(6, 3, 4))
        mixture = kn.layers.MixtureNormalization(name="fitted")
        model = keras.Sequential(
            [keras.Input((4,)), mixture, kn.layers.BatchNormalization()]
        )
        with pytest.raises(ValueError, match="over batches.*'fitted'"):
            recompute(model, data())
