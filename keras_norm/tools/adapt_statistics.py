"""Adaptive batch normalization: statistics of another domain.

Li, Wang, Shi, Liu & Hou, 2017, https://arxiv.org/abs/1603.04779
"""

import keras

from keras_norm import errors
from keras_norm.core.momentum import MomentumAverage
from keras_norm.models.model_data import Batches
from keras_norm.models.statistics_pass import StatisticsPass
from keras_norm.tools.recompute_statistics import ProgressBar
from keras_norm.tools.recompute_statistics import write

METHODS = ("cumulative", "moving")


def adapt_statistics(
    model: keras.Model,
    target_data,
    steps: int | None = None,
    batch_size: int = 32,
    method: str = "cumulative",
    reset: bool = True,
    layers=None,
    include_frozen: bool = False,
    verbose: int | str = 0,
) -> list:
    """Give normalization layers the statistics of a target domain (AdaBN).

    Cumulative: with d = mean_B - mean, n' = n + k,

        mean <- mean + d k / n'
        variance <- variance n / n' + variance_B k / n' + d^2 n k / n'^2

    for a batch of k entries. Moving: statistic <- momentum * statistic + (1 -
    momentum) * statistic_B with the momentum of each layer.

    No labels are needed; weights, gamma and beta stay as they are. As in
    training, each batch is normalized by its own statistics on its way to the
    layers behind, and everything but normalization infers; see
    `recompute_statistics`.

    Args:
        model: a built model, trained on the source domain.
        target_data: what `fit` takes; see `recompute_statistics`.
        steps: number of batches; None: all. Iterators need it.
        batch_size: samples of a batch of arrays.
        method: "cumulative" or "moving".
        reset: True begins with the first batch. False begins with the
            statistics of the source, which for "cumulative" count as one more
            batch.
        layers: which ones; see `recompute_statistics`.
        include_frozen: layers that are not trainable, too.
        verbose: see `recompute_statistics`.

    Returns:
        The names of the layers whose statistics are new.

    Raises:
        ValueError: an unknown method; "moving" for a layer without momentum;
            else see `recompute_statistics`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> model = keras.Sequential(
    ...     [keras.Input((3,)), keras.layers.BatchNormalization(name="bn")])
    >>> target = np.random.normal(5.0, 2.0, (100, 3)).astype("float32")
    >>> kn.tools.adapt_statistics(model, target)
    ['bn']

    Reference:

    - Li et al., Revisiting Batch Normalization For Practical Domain
      Adaptation, ICLR workshop 2017, https://arxiv.org/abs/1603.04779
    """
    if method not in METHODS:
        raise errors.unknown_name("method", method, list(METHODS))
    batches = Batches(target_data, steps, batch_size)
    run = StatisticsPass(model, layers, include_frozen)
    bar = ProgressBar(batches.number, verbose)
    shares = None
    if method == "moving":
        shares = {r: 1.0 - momentum_of(r.layer) for r in run.readings}
    collected = run.collect(
        batches, shares is None, not reset, shares, bar.update
    )
    bar.finish()
    return write(collected)


def momentum_of(layer) -> float:
    """The fraction that a layer's moving averages keep."""
    statistics = getattr(layer, "statistics", None)
    if isinstance(statistics, MomentumAverage):
        # Scheduled: the layer's `momentum` is where it began.
        return statistics.acting_momentum(layer)
    momentum = getattr(layer, "momentum", None)
    if momentum is None:
        momentum = getattr(statistics, "momentum", None)
    if momentum is None:
        raise errors.received(
            "`method` must be 'cumulative' for layers without momentum.",
            method="moving",
            layer=layer.name,
        )
    return momentum
