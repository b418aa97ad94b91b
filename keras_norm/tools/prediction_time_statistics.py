"""Prediction-time batch normalization: statistics of what is predicted.

Nado et al., 2020, https://arxiv.org/abs/2006.10963; Schneider et al., 2020,
https://arxiv.org/abs/2006.16971
"""

import contextlib

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_norm import errors
from keras_norm.models.model_data import Batches
from keras_norm.models.statistics_pass import StatisticsPass


def prediction_time_statistics(
    model: keras.Model,
    x,
    prior_strength: float = 0.0,
    batch_size: int | None = None,
    steps: int | None = None,
    layers=None,
    include_frozen: bool = False,
):
    """Predictions of a model that normalizes by the batch it predicts.

        mean = (N mean_s + n mean_B) / (N + n)
        variance = (N variance_s + n variance_B) / (N + n)

    for a batch of n samples, the statistics s of the model and a prior
    strength of N samples: 0 is the batch alone, infinity plain inference. For
    inputs of another distribution than the training data, in batches large
    enough. The model stays as it is.

    Args:
        model: a built model.
        x: what `predict` takes: arrays, datasets, iterators.
        prior_strength: N, not negative.
        batch_size: samples of a batch of arrays; None: all of them.
        steps: number of batches; None: all. Iterators need it.
        layers: which ones; see `recompute_statistics`.
        include_frozen: layers that are not trainable, too.

    Returns:
        Predictions as NumPy arrays, in the structure of the model's outputs.

    Raises:
        ValueError: a negative strength; else see `recompute_statistics`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> model = keras.Sequential(
    ...     [keras.Input((3,)), keras.layers.BatchNormalization()])
    >>> x = np.random.normal(5.0, 2.0, (100, 3)).astype("float32")
    >>> y = kn.tools.prediction_time_statistics(model, x)
    >>> bool(abs(y.mean()) < 1e-5)
    True

    Reference:

    - Nado et al., Evaluating Prediction-Time Batch Normalization for
      Robustness under Covariate Shift, 2020, https://arxiv.org/abs/2006.10963
    - Schneider et al., Improving robustness against common corruptions by
      covariate shift adaptation, NeurIPS 2020,
      https://arxiv.org/abs/2006.16971

    Note: as in the second paper the variance of the mixture leaves out that
    of the two means. Pad no batches: what is padded takes part.
    """
    known = isinstance(prior_strength, (int, float))
    if not known or not prior_strength >= 0:
        raise errors.received(
            "`prior_strength` is a number of samples and must not be negative.",
            prior_strength=prior_strength,
        )
    if batch_size is None:
        batch_size = np.iinfo(np.int32).max
    batches = Batches(x, steps, batch_size)
    run = StatisticsPass(model, layers, include_frozen)
    plain = prior_strength == np.inf
    source = {}
    if prior_strength and not plain:
        source = {r: r.kept(between=False) for r in run.readings}

    def follow(reading, found, call):
        if not prior_strength:
            return found
        n = float(ops.shape(call.inputs)[0])
        share = n / (prior_strength + n)
        return source[reading].merged(found, between=False, share=share)

    outputs = []
    following = contextlib.nullcontext() if plain else run.following(follow)
    with run.restored(), following:
        for inputs in batches:
            y = run.infer(inputs)
            outputs.append(tree.map_structure(ops.convert_to_numpy, y))
    return tree.map_structure(lambda *each: np.concatenate(each), *outputs)
