"""Monte-Carlo batch normalization: how sure a prediction is.

Teye, Azizpour & Smith, 2018, https://arxiv.org/abs/1802.06455
"""

from collections import namedtuple

import keras
import numpy as np
from keras import tree

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.models.model_data import Batches
from keras_norm.models.model_data import is_endless
from keras_norm.models.statistics_pass import StatisticsPass

MonteCarloPrediction = namedtuple(
    "MonteCarloPrediction", "mean variance samples"
)


def monte_carlo_predict(
    model: keras.Model,
    x,
    train_data,
    samples: int = 10,
    batch_size: int = 32,
    seed: int | None = None,
    keep_samples: bool = False,
    predict_batch_size: int | None = None,
    layers=None,
    include_frozen: bool = False,
) -> MonteCarloPrediction:
    """Predictions with the statistics of random training batches.

    For t = 1 ... T: draw a training batch, give the normalization layers its
    statistics, predict x:

        mean = sum_t y_t / T,  variance = sum_t (y_t - mean)^2 / T

    Each batch is a draw from the approximate posterior of a network trained
    with batch normalization, so the variance is the model's uncertainty. (Of a
    regression with noise of precision tau the predictive variance is 1 / tau
    more.) x never takes part in statistics. The model stays as it is.

    Args:
        model: a built model.
        x: what `predict` takes, and can be iterated again.
        train_data: arrays, of which batches are drawn without repetition
            within a batch; or a dataset, whose batches are taken one after
            another, from the beginning again where it ends; or an iterator of
            at least T batches.
        samples: T.
        batch_size: samples of a training batch; that of the training.
        seed: of the draws.
        keep_samples: give the T predictions, too.
        predict_batch_size: samples of a batch of `x`.
        layers: which ones; see `tools.recompute_statistics`.
        include_frozen: layers that are not trainable, too.

    Returns:
        A named tuple (mean, variance, samples) of NumPy arrays, or structures
        of them as the model's outputs; `samples` with T in front, or None.

    Raises:
        ValueError: an iterator of fewer batches than `samples`; else see
            `tools.recompute_statistics`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((3,)), keras.layers.BatchNormalization(),
    ...     keras.layers.Dense(1)])
    >>> x = np.random.normal(size=(100, 3)).astype("float32")
    >>> found = kn.analysis.monte_carlo_predict(model, x[:5], x, samples=3)
    >>> found.mean.shape, found.variance.shape
    ((5, 1), (5, 1))

    Reference:

    - Teye, Azizpour & Smith, Bayesian Uncertainty Estimation for Batch
      Normalized Deep Networks, ICML 2018, https://arxiv.org/abs/1802.06455
    """
    positive("samples", samples)
    # Of what need not end as many batches are taken as samples.
    steps = samples if is_endless(train_data) else None
    batches = Batches(train_data, steps, batch_size)
    run = StatisticsPass(model, layers, include_frozen)
    draws = batches.draws(np.random.default_rng(seed))
    kept: list = []
    mean: list = []
    square: list = []
    with run.restored():
        for t in range(1, samples + 1):
            batch = next(draws, None)
            if batch is None:
                raise errors.received(
                    "`train_data` must have a batch for each sample; an "
                    "iterator does not begin again.",
                    "Give fewer `samples`, or data that can be iterated again.",
                    samples=samples,
                    batches=t - 1,
                )
            for reading, found in run.collect([batch]).items():
                reading.write(found)
            y = model.predict(x, batch_size=predict_batch_size, verbose=0)
            outputs = [np.asarray(one, "float64") for one in tree.flatten(y)]
            if t == 1:
                mean = [np.zeros_like(one) for one in outputs]
                square = [np.zeros_like(one) for one in outputs]
            apart = [o - m for o, m in zip(outputs, mean, strict=True)]
            mean = [m + d / t for m, d in zip(mean, apart, strict=True)]
            square = [
                s + d * (o - m)
                for s, d, o, m in zip(square, apart, outputs, mean, strict=True)
            ]
            if keep_samples:
                kept.append(y)

    def packed(values):
        values = [
            v.astype(one.dtype)
            for v, one in zip(values, tree.flatten(y), strict=True)
        ]
        return tree.pack_sequence_as(y, values)

    stacked = None
    if keep_samples:
        stacked = tree.map_structure(lambda *each: np.stack(each), *kept)
    variance = [s / samples for s in square]
    return MonteCarloPrediction(packed(mean), packed(variance), stacked)
