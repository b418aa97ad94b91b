"""What is uncertain in predictions: the data, or the model."""

from typing import NamedTuple

import numpy as np

from keras_norm.analysis.calibration import checked_probabilities


class PredictiveUncertainty(NamedTuple):
    """Entropies of class probabilities, in nats, for each sample.

    Args:
        total: of the mean of the draws.
        data: the mean of the entropies of the draws.
        model: total - data, the mutual information of label and draw.
    """

    total: np.ndarray
    data: np.ndarray
    model: np.ndarray


def predictive_uncertainty(samples) -> PredictiveUncertainty:
    """Splits the entropy of class probabilities into data and model.

        total = H(mean_t p_t),  data = mean_t H(p_t),  model = total - data

    for draws p_t of the probabilities, as `monte_carlo_predict` gives them.
    The first is what a decision has to reckon with; the second stays with any
    amount of data; the third is high where the draws contradict each other:
    far from the training data.

    Args:
        samples: (draws, samples, classes) of probabilities; or (draws,
            samples) or (draws, samples, 1) of the second of two classes.

    Returns:
        A named tuple (total, data, model) of float64 arrays (samples,).

    Raises:
        ValueError: what is no probability.

    Example: two draws agree that they do not know, two contradict each other.

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> draws = np.array([[[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]]])
    >>> found = kn.analysis.predictive_uncertainty(draws)
    >>> print(np.round(found.total, 3), np.round(found.model, 3))
    [0.693 0.693] [0.    0.693]

    Reference:

    - Depeweg, Hernandez-Lobato, Doshi-Velez & Udluft, Decomposition of
      Uncertainty in Bayesian Deep Learning, ICML 2018,
      https://arxiv.org/abs/1710.07283
    - Teye, Azizpour & Smith, Bayesian Uncertainty Estimation for Batch
      Normalized Deep Networks, ICML 2018, https://arxiv.org/abs/1802.06455
    """
    p = checked_probabilities(samples, 3)
    total = entropy(p.mean(axis=0))
    data = entropy(p).mean(axis=0)
    # Not negative but for rounding: the entropy is concave.
    return PredictiveUncertainty(total, data, np.maximum(total - data, 0.0))


def entropy(p) -> np.ndarray:
    """-sum p log p over the last axis."""
    return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
