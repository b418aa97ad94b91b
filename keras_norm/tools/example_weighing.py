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
        validation_data: (x, y) or (x, y, weights), or a dataset of such
            batches; no iterator, which the first candidate would use up.
        candidates: shares to choose from.
        loss: by which to choose; None: the one the model is compiled with,
            with its `loss_weights`.
        batch_size: samples of a batch of arrays.
        layers: names of the layers; None: all batch normalization.

    Returns:
        A model, not compiled. Its layers' `mean_weight` and `variance_weight`
        are alpha.

    Raises:
        ValueError: neither `alpha` nor `validation_data`, an iterator; no
            loss, or none that is finite; shares outside [0, 1]; a subclassed
            model, one without batch normalization.

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
    if hasattr(data, "__next__"):
        raise errors.received(
            "`validation_data` must be what can be iterated again: every "
            "candidate is evaluated on it.",
            "Give arrays, a dataset, a PyDataset or a DataLoader.",
            validation_data=type(data).__name__,
        )
    if isinstance(data, tuple) and len(data) not in (2, 3):
        raise errors.received(
            "A tuple of `validation_data` must be (x, y) or (x, y, weights).",
            length=len(data),
        )
    weights_of_losses = None
    if loss is None:
        loss = getattr(model, "loss", None)
        weights_of_losses = loss_weights(model)
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
    scored.compile(loss=loss, loss_weights=weights_of_losses)
    weights = [
        w
        for w in scored.weights
        if w.name in ("mean_weight", "variance_weight")
    ]
    arrays = data if isinstance(data, tuple) else (data,)
    names = ("x", "y", "sample_weight")
    options = dict(zip(names, arrays, strict=False))
    if len(arrays) > 1:
        options["batch_size"] = batch_size
    losses = []
    for candidate in candidates:
        for weight in weights:
            weight.assign(np.float32(candidate))
        found = scored.evaluate(verbose=0, return_dict=True, **options)
        losses.append(float(found["loss"]))
    if not np.any(np.isfinite(losses)):
        raise errors.received(
            "The loss on `validation_data` must be finite for some candidate.",
            losses=losses,
        )
    finite = np.where(np.isfinite(losses), losses, np.inf)
    return float(candidates[int(np.argmin(finite))])


def loss_weights(model):
    """What a model was compiled with; None without."""
    config = getattr(model, "_compile_config", None)
    return config.config.get("loss_weights") if config else None
