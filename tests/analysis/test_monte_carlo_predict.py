"""Predictions with the statistics of random batches."""

import keras
import numpy as np
import pytest

import keras_norm as kn
from tools.statistics_models import array
from tools.statistics_models import chain
from tools.statistics_models import data
from tools.statistics_models import same
from tools.statistics_models import state

predict = kn.analysis.monte_carlo_predict
# Outputs of up to some tens; units of 2^-24 of the largest terms.
TOLERANCE = 5e-5


@pytest.mark.parametrize("kind", ["keras", "ours"])
def test_moments_of_the_samples(kind):
    model, train, x = chain(kind), data(), data(7, seed=9)
    before = state(model)
    options = {"samples": 4, "batch_size": 16, "keep_samples": True}
    found = predict(model, x, train, seed=3, **options)
    assert found.samples.shape == (4, 7, 2)
    samples = found.samples.astype("float64")
    assert np.abs(found.mean - samples.mean(axis=0)).max() <= 1e-5
    assert np.abs(found.variance - samples.var(axis=0)).max() <= 1e-5
    assert found.variance.max() > 1e-3
    again = predict(model, x, train, seed=3, **options)
    assert np.array_equal(again.samples, found.samples)
    assert same(before, state(model))


def test_the_whole_data_as_one_batch():
    """No variance, and inference by the statistics of the data."""
    model, train, x = chain(), data(), data(7, seed=9)
    found = predict(model, x, train, samples=2, batch_size=50)
    kn.tools.recompute_statistics(model, train, batch_size=50)
    assert np.abs(found.mean - array(model(x))).max() <= TOLERANCE
    assert found.variance.max() <= TOLERANCE**2
    assert found.samples is None


def test_variance_falls_with_the_batch_size():
    """As 1 / batch_size; far from it with so few draws."""
    model, train, x = chain(), data(2000), data(7, seed=9)
    small, large = (
        predict(model, x, train, samples=8, batch_size=size, seed=0)
        for size in (10, 1000)
    )
    assert large.variance.mean() < small.variance.mean() / 20


class Endless(keras.utils.PyDataset):
    """Batches without end, of other means each."""

    @property
    def num_batches(self):
        return None

    def __getitem__(self, index):
        return data(16) + index


def test_data_without_end():
    """The first batches, as many as samples."""
    model, x = chain(), data(7, seed=9)
    options = {"samples": 2, "keep_samples": True}
    listed = (data(16) + index for index in range(2))
    expected = predict(model, x, listed, **options).samples
    found = predict(model, x, Endless(), **options).samples
    assert np.array_equal(found, expected)
    before = state(model)
    with pytest.raises(ValueError, match="a batch for each sample.*batches=1"):
        predict(model, x, iter([data(16)]), samples=2)
    assert same(before, state(model))


def test_an_exception_leaves_the_model():
    model = chain()
    before = state(model)

    def batches():
        yield data(16)
        raise RuntimeError("No more.")

    with pytest.raises(RuntimeError, match="No more"):
        predict(model, data(4), batches())
    assert same(before, state(model))
    with pytest.raises(ValueError, match="`samples`"):
        predict(model, data(4), data(), samples=0)
