"""Candidates ranked with statistics of the calibration data."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from tools.pruning_models import array

evaluate = kn.tools.evaluate_candidates


def data(samples=48):
    random = np.random.default_rng(0)
    x = random.normal(3.0, 2.0, (samples, 3)).astype("float32")
    return x, (x.sum(axis=1) > 9).astype("int32")


def model(sign=1.0, momentum=0.9):
    """Logits of the sum of what is normalized, right or wrong way round."""
    made = keras.Sequential(
        [
            keras.Input((3,)),
            layers.BatchNormalization(momentum=momentum, name="norm"),
            layers.Dense(2, use_bias=False, name="head"),
        ],
        name=f"sign_{sign:g}".replace("-", "minus_"),
    )
    made.get_layer("head").kernel.assign(sign * np.array([[-1.0, 1.0]] * 3))
    return made


def accuracy(made, x, y, mean, variance):
    """From the formula."""
    epsilon = made.get_layer("norm").epsilon
    z = (x.astype("float64") - mean) / np.sqrt(variance + epsilon)
    predicted = (z @ array(made.get_layer("head").kernel)).argmax(axis=1)
    return (predicted == y).mean()


class TestScores:
    @pytest.mark.parametrize("method", ["cumulative", "moving"])
    def test_are_those_of_adapted_statistics(self, method):
        x, y = data()
        made, wrong = model(), model(-1.0)
        before = [array(v) for m in (made, wrong) for v in m.variables]
        ranking = evaluate(
            {"wrong": wrong, "right": made},
            x[:32],
            (x[32:], y[32:]),
            batch_size=16,
            method=method,
        )
        mean, variance = x[:32].mean(axis=0), x[:32].var(axis=0)
        if method == "moving":
            mean, variance = np.zeros(3), np.ones(3)
            for batch in (x[:16], x[16:32]):
                mean = 0.9 * mean + 0.1 * batch.mean(axis=0)
                variance = 0.9 * variance + 0.1 * batch.var(axis=0)
        score = accuracy(made, x[32:], y[32:], mean, variance)
        assert [one.name for one in ranking] == (
            ["right", "wrong"] if score > 0.5 else ["wrong", "right"]
        )
        scores = {one.name: one.score for one in ranking}
        assert scores["right"] == pytest.approx(score, abs=1e-6)
        assert scores["wrong"] == pytest.approx(1 - score, abs=1e-6)
        assert ranking[0].parameters == made.count_params()
        # Nothing of the candidates has changed.
        after = [array(v) for m in (made, wrong) for v in m.variables]
        for old, new in zip(before, after, strict=True):
            assert np.array_equal(old, new)

    def test_of_functions_and_datasets(self):
        """Models that are made one by one; batches of a PyDataset."""
        x, y = data()

        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 3

            def __getitem__(self, index):
                rows = slice(16 * index, 16 * index + 16)
                return x[rows], y[rows]

        made = []

        def candidate():
            made.append(model(-1.0))
            return made[-1]

        ranking = evaluate([model(), candidate], x, Batches())
        assert [one.name for one in ranking] == ["0", "1"] and len(made) == 1
        assert ranking[1].candidate is candidate
        expected = accuracy(model(), x, y, x.mean(axis=0), x.var(axis=0))
        assert ranking[0].score == pytest.approx(expected, abs=1e-6)
        assert str(ranking).startswith("name  score      parameters\n0 ")

    def test_of_other_metrics(self):
        x, y = data()
        loss = keras.metrics.SparseCategoricalCrossentropy(from_logits=True)
        for metric in (loss, lambda m: float(array(loss.result()))):
            loss.reset_state()
            ranking = evaluate(
                [model(-1.0), model()], x, (x, y), metric=metric, mode="min"
            )
            assert ranking[0].score <= ranking[1].score
        ranking = evaluate(
            [model()], x, (x, y), metric="sparse_categorical_accuracy"
        )
        assert ranking[0].score > 0.9


def test_errors():
    x, y = data()

    def raises(match, *arguments, **options):
        with pytest.raises(ValueError, match=match):
            evaluate(*arguments, **options)

    raises("`candidates` must be models", [], x, (x, y))
    raises("`candidates` must be models", model, x, (x, y))
    raises("`candidates` must be models", [lambda: 3], x, (x, y))
    raises("can be read again", [model()], iter([x]), (x, y), steps=1)
    raises("`validation_data` must be", [model()], x, x)
    raises("have targets", [model()], x, (x,))
    raises("`metric` must be", [model()], x, (x, y), metric="acuracy")
    raises("`mode` must be one of", [model()], x, (x, y), mode="best")
    plain = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    raises("must have normalization", [plain], x, (x, y))


def test_after_an_error_candidates_are_as_they_were():
    x, y = data()
    made = model()
    before = [array(v) for v in made.variables]

    def metric(_):
        raise RuntimeError("The disk is full.")

    with pytest.raises(RuntimeError, match="The disk is full"):
        evaluate([made], x, (x, y), metric=metric)
    for old, new in zip(before, made.variables, strict=True):
        assert np.array_equal(old, array(new))
