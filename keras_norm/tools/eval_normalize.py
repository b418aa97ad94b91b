"""EvalNorm: inference that corrects moving averages by the example.

Singh & Shrivastava, 2019, https://arxiv.org/abs/1904.06031
"""

import keras

from keras_norm import errors
from keras_norm.core.layer import positive
from keras_norm.models.example_copies import check_weight
from keras_norm.models.example_copies import weighed_copy


def eval_normalize(
    model: keras.Model,
    alpha: float | None = None,
    beta: float | None = None,
    batch_size: int | None = None,
    layers=None,
) -> keras.Model:
    """A copy of `model` that estimates what training would normalize by.

        mean = alpha mean_i + (1 - alpha) moving_mean
        variance = beta variance_i + (1 - beta) moving_variance
                   + alpha (1 - alpha) (mean_i - moving_mean)^2

    with the moments i of the example alone over its positions: in a training
    batch the example itself is one of `batch_size`. For models trained with
    small batches. Nothing is trained. `alpha = beta = 0` is the model's own
    inference, 1 instance normalization by gamma and beta.

    Args:
        model: a built Sequential or functional model; nested ones are
            followed. It stays as it is.
        alpha: share of the example in the mean; None: 1 / batch_size.
        beta: share of its variance; None: alpha.
        batch_size: of the training.
        layers: names of the layers; None: all batch normalization.

    Returns:
        A model, not compiled.

    Raises:
        ValueError: neither `alpha` nor `batch_size`; shares outside [0, 1];
            a subclassed model, one without batch normalization.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3),
    ...     keras.layers.BatchNormalization()])
    >>> corrected = kn.tools.eval_normalize(model, batch_size=4)

    Reference:

    - Singh & Shrivastava, EvalNorm: Estimating Batch Normalization Statistics
      for Evaluation, ICCV 2019, https://arxiv.org/abs/1904.06031

    Note: the article then learns a share for each layer; set
    `layer.mean_weight` and `layer.variance_weight` of the copy for that. With
    alpha = beta it is `example_weighing`.
    """
    if alpha is None:
        if batch_size is None:
            raise errors.received(
                "`alpha` or `batch_size` must be given.",
                "Give the batch size of the training.",
                alpha=None,
                batch_size=None,
            )
        positive("batch_size", batch_size)
        alpha = 1.0 / batch_size
    beta = alpha if beta is None else beta
    return weighed_copy(
        model, check_weight("alpha", alpha), check_weight("beta", beta), layers
    )
