"""Channels removed: the same outputs as of channels masked."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from tools import pruning_models as models
from tools.pruning_models import array
from tools.pruning_models import masked_by_hand
from tools.pruning_models import norm
from tools.pruning_models import outputs
from tools.pruning_models import same_weights
from tools.pruning_models import shaken

prune = kn.tools.prune
# float32: outputs of size 1 through some ten layers, sums of up to 100 terms.
TOLERANCE = 1e-5
CHANNELS_FIRST = keras.backend.backend() != "tensorflow"


def small(*more):
    """Dense, normalization, ReLU, dense; four channels of known gamma."""
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, name="dense"),
            norm(name="norm", gamma_regularizer="l1"),
            layers.ReLU(),
            *more,
            layers.Dense(2, name="head"),
        ],
        name="small",
    )
    shaken(model)
    model.get_layer("norm").gamma.assign([0.5, -0.25, 1.0, 0.25])
    return model


@pytest.mark.parametrize(
    "make",
    [
        models.chain,
        models.residual,
        models.nested,
        *([models.first] if CHANNELS_FIRST else []),
    ],
)
def test_equals_the_masked_model(make):
    model = shaken(make())
    before, unpruned = model.get_weights(), outputs(model)
    for beta in ("absorb", "zero"):
        made, report = prune(model, 0.5, beta=beta, return_report=True)
        by_hand = masked_by_hand(model, report)
        expected = outputs(by_hand)
        # Each normalization is pruned of something, and outputs show it.
        assert all(c.removed for c in report.changes if not c.notes)
        assert np.abs(expected - unpruned).max() > 1e-2
        assert np.abs(outputs(made) - expected).max() <= TOLERANCE
        assert report.parameters_after == made.count_params()
        assert report.parameters_after < report.parameters_before
        absorbed = sum(len(c.absorbed) for c in report.changes)
        assert (absorbed > 0) == (beta == "absorb")
        masked = kn.tools.mask_channels(model, 0.5, beta=beta)
        assert same_weights(masked, by_hand)
        # What the report has of masks makes the same model again.
        again = prune(model, masks=report.masks, beta=beta)
        assert same_weights(again, made)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_tied_channels_go_together():
    _, report = prune(shaken(models.residual()), 0.5, return_report=True)
    removed = {c.path.split("/")[-1]: c.removed for c in report.changes}
    assert removed["norm_stem"] == removed["norm_narrow"]
    assert removed["norm_wide"] == removed["norm_each"]


class TestAbsorption:
    def test_by_a_bias(self):
        model = small()
        made = prune(model, threshold=0.3)
        beta = array(model.get_layer("norm").beta)
        kernel, bias = map(array, model.get_layer("head").weights)
        gone, kept = [1, 3], [0, 2]
        expected = bias + np.maximum(beta[gone], 0) @ kernel[gone]
        found_kernel, found = map(array, made.get_layer("head").weights)
        assert np.array_equal(found_kernel, kernel[kept])
        assert np.abs(found - expected).max() <= 1e-6

    @pytest.mark.parametrize("behind", ["norm", "nothing"])
    def test_without_a_bias(self, behind):
        """By the moving mean of a normalization behind, or by a new bias."""
        last = [norm(name="last")] if behind == "norm" else []
        model = keras.Sequential(
            [
                keras.Input((3,)),
                layers.Dense(4),
                norm(name="norm"),
                layers.Activation("sigmoid"),
                layers.Dense(3, use_bias=False, name="use"),
                *last,
                layers.Dense(2),
            ]
        )
        shaken(model)
        made, report = prune(model, 0.5, layers="norm", return_report=True)
        (change,) = report.changes
        assert change.absorbed == change.removed and len(change.removed) == 2
        gone = list(change.removed)
        beta = array(model.get_layer("norm").beta)[gone]
        kernel = array(model.get_layer("use").kernel)[gone]
        shift = 1 / (1 + np.exp(-beta)) @ kernel
        dense = made.get_layer("use")
        if behind == "norm":
            assert not dense.use_bias
            mean = array(model.get_layer("last").moving_mean)
            found = mean - array(made.get_layer("last").moving_mean)
        else:
            found = array(dense.bias)
        assert np.abs(found - shift).max() <= 1e-6
        assert (
            np.abs(outputs(made) - outputs(masked_by_hand(model, report))).max()
            <= TOLERANCE
        )

    def test_what_a_padded_convolution_sees(self):
        """The sigmoid of 0 is not 0: nothing can be removed there."""

        def model(activation):
            made = keras.Sequential(
                [
                    keras.Input((4, 4, 2)),
                    layers.Conv2D(3, 1),
                    norm(name="norm"),
                    layers.Activation(activation),
                    layers.Conv2D(2, 3, padding="same", name="padded"),
                ]
            )
            return shaken(made)

        _, report = prune(model("relu"), 0.5, return_report=True)
        assert len(report.changes[0].removed) == 1
        # Unless the ReLU of beta is 0 it is not absorbed.
        with pytest.raises(ValueError, match="'padded', a Conv2D, pads"):
            prune(model("sigmoid"), 0.5)


class TestChoice:
    def test_of_a_fraction(self):
        for fraction, removed in (
            (0, ()),
            (0.49, (1,)),
            # Of equal ones the first.
            (0.25, (1,)),
            (0.5, (1, 3)),
            (0.75, (0, 1, 3)),
            # One of every layer stays.
            (0.99, (0, 1, 3)),
        ):
            _, report = prune(small(), fraction, return_report=True)
            assert report.changes[0].removed == removed

    def test_of_a_threshold(self):
        for threshold, removed in ((0.2, ()), (0.25, (1, 3)), (9, (0, 1, 3))):
            _, report = prune(small(), threshold=threshold, return_report=True)
            assert report.changes[0].removed == removed
        text = str(report)
        assert text.startswith("3 of 4 channels removed, 42 -> 12 parameters")
        assert "small/norm: BatchNormalization, 1 of 4 channels kept" in text

    def test_of_masks(self):
        model = small()
        for name in ("norm", "small/norm"):
            masks = {name: np.array([True, True, False, True])}
            made = prune(model, masks=masks)
            gamma = array(made.get_layer("norm").gamma)
            assert np.array_equal(gamma, np.float32([0.5, -0.25, 0.25]))

    @pytest.mark.parametrize(
        "masks, message",
        [
            ({"nrom": [True] * 4}, "Did you mean 'norm'"),
            ({"norm": [True] * 3}, "a boolean for every channel"),
            ({"norm": [1, 1, 1, 0]}, "a boolean for every channel"),
            ({"norm": [False] * 4}, "leave a channel of every"),
        ],
    )
    def test_of_wrong_masks(self, masks, message):
        with pytest.raises(ValueError, match=message):
            prune(small(), masks=masks)

    def test_of_masks_that_are_tied(self):
        model = shaken(models.residual())
        masks = {"norm_stem": np.array([True, False, True, True])}
        with pytest.raises(ValueError, match="sum ties channels of"):
            prune(model, masks=masks)


COUPLINGS = {
    "attention": lambda n: (
        lambda x: layers.MultiHeadAttention(1, 2, name=n)(x, x)
    ),
    "layer": lambda n: layers.LayerNormalization(name=n),
    "groups": lambda n: layers.Conv1D(4, 1, groups=2, name=n),
    "softmax": lambda n: layers.Activation("softmax", name=n),
    "wrapper": lambda n: layers.TimeDistributed(layers.Dense(2), name=n),
    "recurrent": lambda n: layers.LSTM(2, name=n),
}


@pytest.mark.parametrize("kind", COUPLINGS)
def test_couplings_are_refused_by_name(kind):
    coupling = COUPLINGS[kind]("coupling")
    series = keras.Input((3, 2))
    x = norm(name="norm")(layers.Dense(4)(series))
    y = norm(name="free")(layers.Dense(4)(series))
    model = keras.Model(series, [coupling(x), layers.Dense(2)(y)])
    with pytest.raises(ValueError, match="'coupling', a "):
        prune(model, 0.5, layers="norm")
    # What is not met by it can be pruned.
    _, report = prune(model, 0.5, return_report=True)
    found = {c.path.split("/")[-1]: c for c in report.changes}
    assert len(found["free"].removed) == 2 and not found["norm"].removed
    assert "'coupling'" in found["norm"].notes[0]


class TestCopy:
    def test_keeps_everything_else(self, tmp_path):
        model = small(layers.Dropout(0.5, seed=3))
        model.get_layer("dense").trainable = False
        kn.tools.add_gamma_penalty(model, 0.01)
        made = prune(model, 0.5)
        assert [x.name for x in made.layers] == [x.name for x in model.layers]
        assert [w.path for w in made.weights] == [w.path for w in model.weights]
        assert not made.get_layer("dense").trainable
        assert len(made.trainable_weights) == len(model.trainable_weights)
        assert float(made.get_layer("norm").gamma.regularizer.l1) == (
            pytest.approx(0.01)
        )
        made.compile("adam", "mse")
        made.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
        made.save(tmp_path / "small.keras")
        loaded = keras.saving.load_model(tmp_path / "small.keras")
        assert np.array_equal(outputs(loaded), outputs(made))

    def test_of_what_is_frozen(self):
        model = keras.Sequential(
            [
                keras.Input((3,)),
                layers.Dense(4),
                kn.layers.BatchNormalization(name="norm"),
                kn.layers.FrozenBatchNormalization(name="frozen"),
                layers.Dense(2),
            ]
        )
        shaken(model)
        kn.tools.freeze(model, affine=True, layers="norm")
        made = prune(model, 0.5)
        assert made.get_layer("norm").freeze_statistics
        assert made.get_layer("norm").freeze_affine
        assert len(made.trainable_weights) == len(model.trainable_weights)


class TestErrors:
    @pytest.mark.parametrize(
        "options, message",
        [
            ({}, "Exactly one of"),
            ({"fraction": 0.5, "threshold": 1.0}, "Exactly one of"),
            ({"fraction": 1.0}, "`fraction` must be a number in"),
            ({"fraction": True}, "`fraction` must be a number in"),
            ({"threshold": -1}, "`threshold` must be a number in"),
            ({"fraction": 0.5, "beta": "kept"}, "`beta` must be one of"),
            ({"fraction": 0.5, "layers": "nrom"}, "Did you mean 'norm'"),
        ],
    )
    def test_of_arguments(self, options, message):
        with pytest.raises(ValueError, match=message):
            prune(small(), **options)

    def test_of_models(self):
        class Own(keras.Model):
            pass

        with pytest.raises(ValueError, match="Sequential or functional"):
            prune(Own(), 0.5)
        with pytest.raises(ValueError, match="must be built"):
            prune(keras.Sequential([layers.Dense(2)]), 0.5)
        without = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        with pytest.raises(ValueError, match="must have normalization"):
            prune(without, 0.5)
