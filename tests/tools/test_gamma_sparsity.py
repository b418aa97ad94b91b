"""Gammas driven to 0: a penalty on built models, and soft thresholds."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from tools.pruning_models import array
from tools.pruning_models import norm
from tools.pruning_models import outputs

add_penalty = kn.tools.add_gamma_penalty


def network():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, name="dense"),
            norm(name="norm"),
            layers.ReLU(),
            keras.Sequential(
                [keras.Input((6,)), kn.layers.BatchNormalization(name="inner")],
                name="nest",
            ),
            kn.layers.LayerNormalization(name="other"),
            layers.Dense(1, name="head"),
        ]
    )


def data():
    random = np.random.default_rng(0)
    x = random.standard_normal((32, 4)).astype("float32")
    return x, x[:, :1] * 2 - x[:, 1:2]


def gamma(model, name="norm"):
    return array(model.get_layer(name).gamma).astype("float64")


class TestPenalty:
    def test_is_in_the_loss_and_saved(self, tmp_path):
        model = network()
        assert model.losses == []
        assert add_penalty(model, 0.01) == ["norm", "inner"]
        # Twelve gammas of 1.
        assert float(array(sum(model.losses))) == pytest.approx(0.12)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert float(array(sum(loaded.losses))) == pytest.approx(0.12)
        assert add_penalty(model, 0, layers="norm") == ["norm"]
        assert float(array(sum(model.losses))) == pytest.approx(0.06)

    def test_a_compiled_model_notices(self):
        """One step of SGD moves each gamma by lr (gradient + strength)."""
        x, y = data()
        moved = []
        for strength in (0.0, 0.25):
            model = network()
            model.set_weights(
                [
                    np.random.default_rng(i).uniform(0.5, 1, w.shape)
                    for i, w in enumerate(model.weights)
                ]
            )
            model.compile(keras.optimizers.SGD(0.1), "mse")
            model.train_on_batch(x, y)
            if strength:
                add_penalty(model, strength, layers="norm")
            model.train_on_batch(x, y)
            moved.append(gamma(model))
        assert np.abs(moved[0] - moved[1] - 0.1 * 0.25).max() <= 1e-6

    def test_errors(self):
        for strength in (-1, float("nan"), True, "1"):
            with pytest.raises(ValueError, match="`strength` must be a finite"):
                add_penalty(network(), strength)
        with pytest.raises(ValueError, match="must be built"):
            add_penalty(keras.Sequential([norm()]))
        plain = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        with pytest.raises(ValueError, match="must have normalization"):
            add_penalty(plain)
        other = keras.Sequential(
            [keras.Input((3,)), norm(gamma_regularizer="l2", name="norm")]
        )
        with pytest.raises(ValueError, match="no other regularizer.*'norm'"):
            add_penalty(other)


class TestProximalL1:
    def test_formula(self):
        """Three steps on a quadratic, against NumPy in float64."""
        random = np.random.default_rng(0)
        start, target = random.standard_normal((2, 5))
        w, other = start.copy(), start.copy()
        gammas = keras.Variable(start, name="gamma")
        kernel = keras.Variable(start, name="kernel")
        optimizer = kn.optimizers.ProximalL1(
            keras.optimizers.SGD(0.3), strength=0.8
        )
        optimizer.build([gammas, kernel])
        for _ in range(3):
            optimizer.apply([gammas - target, kernel - target])
            w = w - 0.3 * (w - target)
            w = np.sign(w) * np.maximum(np.abs(w) - 0.3 * 0.8, 0)
            other = other - 0.3 * (other - target)
        assert (w == 0).any() and (w != 0).any()
        assert np.abs(array(gammas) - w).max() <= 1e-6
        assert np.abs(array(kernel) - other).max() <= 1e-6

    def test_brings_gammas_to_0_and_prunes(self, tmp_path):
        """What is 0 can be removed: nothing changes."""
        x, y = data()
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(6),
                norm(name="norm"),
                layers.ReLU(),
                layers.Dense(1),
            ]
        )
        schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
        model.compile(
            kn.optimizers.ProximalL1(keras.optimizers.SGD(schedule), 0.8),
            "mse",
        )
        model.fit(x, y, epochs=10, batch_size=16, verbose=0)
        zeros = int((gamma(model) == 0).sum())
        assert 0 < zeros < 6
        small, report = kn.tools.prune(model, threshold=0, return_report=True)
        assert len(report.changes[0].removed) == zeros
        assert np.abs(outputs(small) - outputs(model)).max() <= 1e-5
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.optimizer.get_config() == model.optimizer.get_config()
        model.fit(x, y, epochs=1, batch_size=32, verbose=0)
        loaded.fit(x, y, epochs=1, batch_size=32, verbose=0)
        for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
            assert np.abs(a - b).max() <= 1e-6

    def test_errors(self):
        with pytest.raises(ValueError, match="`strength` must be a finite"):
            kn.optimizers.ProximalL1("sgd", -1.0)
        optimizer = kn.optimizers.ProximalL1("sgd")
        with pytest.raises(ValueError, match="`where` must be one of"):
            optimizer.build([keras.Variable([1.0], name="kernel")])
