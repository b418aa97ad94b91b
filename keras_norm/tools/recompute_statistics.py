"""Precise statistics: of a whole set of data, in place of moving averages.

Ioffe & Szegedy, 2015, Algorithm 2; Wu & Johnson, 2021,
https://arxiv.org/abs/2105.07576
"""

import keras

from keras_norm import errors
from keras_norm.models.model_data import Batches
from keras_norm.models.statistics_pass import StatisticsPass
from keras_norm.models.statistics_pass import count_of

MODES = ("population", "mean_of_batches")


def recompute_statistics(
    model: keras.Model,
    data,
    steps: int | None = None,
    batch_size: int = 32,
    mode: str = "population",
    reset: bool = True,
    layers=None,
    include_frozen: bool = False,
    verbose: int | str = 0,
) -> list:
    """Give normalization layers the statistics of the data.

    mean = E[mean_B] and variance = E[variance_B] + Var[mean_B] over batches B,
    each weighted by its number of entries: the moments of all entries. What
    moving averages only follow, and forget, is measured: after few steps,
    after a change of weights (averaging, pruning), for another batch size.

    Normalization layers normalize each batch by its own statistics, so that
    the layers behind them see what they see in training; everything else
    infers (no dropout). Weights, momentum and `trainable` stay as they are,
    and on an exception so do the statistics.

    Args:
        model: any built model.
        data: what `fit` takes: arrays, lists or dicts of arrays, (x, y) or (x,
            y, weights), a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
            PyTorch `DataLoader`, an iterator of batches. Targets and weights
            are left out. Batches should be mixed as in training: shuffle what
            is sorted.
        steps: number of batches; None: all. Iterators need it.
        batch_size: samples of a batch of arrays.
        mode: "population" as above, or "mean_of_batches", which leaves out
            the variance of the means, as moving averages do.
        reset: False lets the statistics of the model count as one more batch.
        layers: which ones: a name, a layer, a class, several of these, or a
            function of a layer. None: all.
        include_frozen: layers that are not trainable, too.
        verbose: 1 or "auto" shows a progress bar, 2 one line.

    Returns:
        The names of the layers whose statistics are new: those that the model
        has called.

    Raises:
        ValueError: no layer with statistics; layers whose state is no average
            over batches; no data; an iterator without `steps`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> model = keras.Sequential(
    ...     [keras.Input((3,)), keras.layers.BatchNormalization(name="bn")])
    >>> x = np.random.normal(5.0, 2.0, (100, 3)).astype("float32")
    >>> kn.tools.recompute_statistics(model, x)
    ['bn']
    >>> moving_mean = keras.ops.convert_to_numpy(model.layers[0].moving_mean)
    >>> bool(np.allclose(moving_mean, x.mean(axis=0), atol=1e-5))
    True

    Reference:

    - Ioffe & Szegedy, Batch Normalization, ICML 2015,
      https://arxiv.org/abs/1502.03167
    - Wu & Johnson, Rethinking "Batch" in BatchNorm, 2021,
      https://arxiv.org/abs/2105.07576

    Note: variances are biased, as Keras' are, except in layers that keep the
    unbiased ones. Layers that divide by something else than a variance
    (ranges, Lp deviations) get its mean over the batches. Whitening layers get
    the covariance of all entries and the matrix that belongs to it.
    """
    if mode not in MODES:
        raise errors.unknown_name("mode", mode, list(MODES))
    batches = Batches(data, steps, batch_size)
    run = StatisticsPass(model, layers, include_frozen)
    bar = ProgressBar(batches.number, verbose)
    collected = run.collect(
        batches, mode == "population", not reset, progress=bar.update
    )
    bar.finish()
    return write(collected)


def write(collected) -> list:
    """Make statistics the state of their layers; the layers' names."""
    for reading, found in collected.items():
        reading.write(found)
        count = count_of(reading)
        if count:
            # They are no longer those of so many updates.
            count.forget()
    return [reading.layer.name for reading in collected]


class ProgressBar:
    """Keras' bar, which ends also where the number was not known.

    Args:
        number: of batches, or None.
        verbose: 0 shows nothing.
    """

    def __init__(self, number, verbose):
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.bar = keras.utils.Progbar(
            number, verbose=self.verbose, unit_name="batch"
        )
        self.done = 0

    def update(self, done):
        """So many batches are done."""
        self.done = done
        if self.verbose:
            self.bar.update(done, finalize=False)

    def finish(self):
        """No more come."""
        if self.verbose:
            self.bar.update(self.done, finalize=True)
