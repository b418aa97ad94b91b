"""Inference example weighing: the example takes part in its statistics.

Summers & Dinneen, 2020, https://arxiv.org/abs/1906.03548
"""

import keras
import numpy as np

from keras_norm import errors
from keras_norm.models.example_copies import check_weight
from keras_norm.models.example_copies import weighed_copy

CANDIDATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def example_weighing(
    model: keras.Model,
    alpha: float | None = None,
    validation_data=None,
    candidates: tuple = CANDIDATES,
    loss=None,
    batch_size: int = 32,
    layers=None,
) -> keras.Model:
    """A copy of `model` that weighs each example into its own statistics.

        mean = alpha E_i[x] + (1 - alpha) E[x]
        variance = alpha E_i[x^2] + (1 - alpha) E[x^2] - mean^2

    with the expectations i over the positions of the example, and E[x] =
    moving_mean, E[x^2] = moving_variance + moving_mean^2. As in training the
    example takes part in what normalizes it. `alpha = 0` is the model's own
    inference, 1 instance normalization by gamma and beta.

    Args:
        model: a built Sequential or functional model; nested ones are
            followed. It stays as it is.
        alpha: share of the example; None: the one of `candidates` with the
            least loss on `validation_data`.
        validation_data: (x, y), or a dataset of such batches.
        candidates: shares to choose from.
        loss: by which to choose; None: the one the model is compiled with.
        batch_size: samples of a batch of arrays.
        layers: names of the layers; None: all batch normalization.

    Returns:
        A model, not compiled. Its layers' `mean_weight` and `variance_weight`
        are alpha.

    Raises:
        ValueError: neither `alpha` nor `validation_data`; no loss; shares
            outside [0, 1]; a subclassed model, one without batch
            normalization.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
    ...     keras.layers.BatchNormalization()])
    >>> weighed = kn.tools.example_weighing(model, alpha=0.1)

    Reference:

    - Summers & Dinneen, Four Things Everyone Should Know to Improve Batch
      Normalization, ICLR 2020, https://arxiv.org/abs/1906.03548

    Note: the variance is formed from centred moments, which is the same; see
    `eval_normalize`, whose shares may differ.
    """
    if alpha is None:
        alpha = best(
            model, validation_data, candidates, loss, batch_size, layers
        )
    alpha = check_weight("alpha", alpha)
    return weighed_copy(model, alpha, alpha, layers)


def best(model, data, candidates, loss, batch_size, layers):
    """The candidate with the least loss."""
    if data is None:
        raise errors.received(
            "`alpha` or `validation_data` must be given.",
            alpha=None,
            validation_data=None,
        )
    loss = loss or getattr(model, "loss", None)
    if loss is None:
        raise errors.received(
            "`loss` must be given for a model that is not compiled.", loss=None
        )
    if not candidates:
        raise errors.received(
            "`candidates` must not be empty.", candidates=candidates
        )
    for candidate in candidates:
        check_weight("candidates", candidate)
    scored = weighed_copy(model, 0.0, 0.0, layers)
    scored.compile(loss=loss)
    weights = [
        w
        for w in scored.weights
        if w.name in ("mean_weight", "variance_weight")
    ]
    x, y = data if isinstance(data, tuple) else (data, None)
    options = {} if y is None else {"batch_size": batch_size}
    losses = []
    for candidate in candidates:
        for weight in weights:
            weight.assign(np.float32(candidate))
        found = scored.evaluate(x, y, verbose=0, return_dict=True, **options)
        losses.append(found["loss"])
    return float(candidates[int(np.argmin(losses))])
