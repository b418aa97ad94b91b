"""Calibration: is a classifier right as often as it says?

Guo, Pleiss, Sun & Weinberger, 2017, https://arxiv.org/abs/1706.04599
"""

import dataclasses

import keras
import numpy as np

from keras_norm import errors
from keras_norm.core.layer import positive

BINNINGS = ("width", "samples")


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """How confidence and accuracy agree.

    Args:
        edges: (bins + 1,), of the confidence.
        counts: (bins,), samples in each bin.
        confidence: (bins,), its mean in each bin; NaN where there is none.
        accuracy: (bins,), the share of right answers, as `confidence`.
        expected_error: sum_b counts_b / N |accuracy_b - confidence_b|.
        maximum_error: the largest |accuracy_b - confidence_b|.
        negative_log_likelihood: -mean(log p of the label).
        brier: mean over the samples of sum_c (p_c - [c is the label])^2.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    expected_error: float
    maximum_error: float
    negative_log_likelihood: float
    brier: float

    def plot(self, ax=None):
        """The reliability diagram: accuracy against confidence.

        Args:
            ax: axes of matplotlib to draw into; None: new ones.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib is not installed.
        """
        from keras_norm.analysis import plots

        ax = plots.axes(ax)
        ax.plot([0, 1], [0, 1], "--", color="gray", label="calibrated")
        seen = self.counts > 0
        ax.plot(
            self.confidence[seen],
            self.accuracy[seen],
            "o-",
            label=f"expected error {self.expected_error:.3f}",
        )
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
        ax.legend()
        return ax


def calibration(
    probabilities, labels, bins: int = 10, binning: str = "width"
) -> Calibration:
    """Expected calibration error and reliability curve of a classifier.

        ECE = sum_b n_b / N |accuracy_b - confidence_b|

    over bins b of the samples by confidence, the largest probability. Of
    predictions that are meant as they stand, 80 % of those with confidence
    0.8 are right, and all of the differences are 0.

    Args:
        probabilities: (samples, classes), rows of sum 1; or (samples,) or
            (samples, 1) of the second of two classes.
        labels: (samples,) of integers, or (samples, classes) one-hot.
        bins: their number.
        binning: "width": of the same width from 0 to 1; "samples": of the
            same number of samples, each with its own edges.

    Returns:
        A `Calibration`: `.expected_error`, `.maximum_error`, `.accuracy`,
        `.confidence`, `.counts`, `.edges`, `.negative_log_likelihood`,
        `.brier`, `.plot()`.

    Raises:
        ValueError: probabilities that are none; labels that do not fit.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> p = np.array([[0.9, 0.1]] * 10)
    >>> found = kn.analysis.calibration(p, [0] * 8 + [1] * 2)
    >>> print(f"{found.expected_error:.2f}", found.counts[8:])
    0.10 [10  0]

    Reference:

    - Guo, Pleiss, Sun & Weinberger, On Calibration of Modern Neural Networks,
      ICML 2017, https://arxiv.org/abs/1706.04599

    Note: bins are (lower, upper], as in the paper. For few samples the error
    is too large: chance alone makes a difference in each bin.
    """
    positive("bins", bins)
    if binning not in BINNINGS:
        raise errors.unknown_name("binning", binning, list(BINNINGS))
    p = checked_probabilities(probabilities)
    labels = checked_labels(labels, p)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    if binning == "width":
        edges = np.linspace(0, 1, bins + 1)
        place = np.searchsorted(edges, confidence, side="left") - 1
        place = np.clip(place, 0, bins - 1)
    else:
        order = np.argsort(confidence, kind="stable")
        place = np.empty(len(p), int)
        place[order] = np.arange(len(p)) * bins // len(p)
        edges = np.quantile(confidence, np.linspace(0, 1, bins + 1))
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, bins) / counts
        accuracy = np.bincount(place, right, bins) / counts
    apart = np.abs(accuracy - mean)[counts > 0]
    target = p[np.arange(len(p)), labels]
    with np.errstate(divide="ignore"):
        likelihood = np.log(target).mean()
    return Calibration(
        edges,
        counts,
        mean,
        accuracy,
        float(np.sum(apart * counts[counts > 0]) / len(p)),
        float(apart.max()),
        float(-likelihood),
        float(np.mean(np.sum(p**2, axis=1) - 2 * target + 1)),
    )


def checked_probabilities(probabilities, ndim=2) -> np.ndarray:
    """In float64, (..., samples, classes); one column becomes two."""
    p = np.asarray(keras.ops.convert_to_numpy(probabilities), "float64")
    if p.ndim == ndim - 1:
        p = p[..., None]
    if p.ndim == ndim and p.shape[-1] == 1:
        p = np.concatenate([1 - p, p], axis=-1)
    good = p.ndim == ndim and p.size and np.all((p >= 0) & (p <= 1))
    # Sums of float16 probabilities, too.
    if not good or np.abs(p.sum(axis=-1) - 1).max() > 1e-2:
        raise errors.received(
            "`probabilities` must not be negative and add up to 1 over the "
            "last axis, the classes.",
            "Apply a softmax to logits.",
            shape=p.shape,
        )
    return p


def checked_labels(labels, p) -> np.ndarray:
    """(samples,) of class numbers."""
    found = np.asarray(keras.ops.convert_to_numpy(labels))
    if found.ndim == 2:
        wide = found.shape[1] > 1
        found = found.argmax(axis=1) if wide else found[:, 0]
    whole = np.array_equal(found, found.astype(int))
    fits = found.shape == p.shape[:1] and whole
    if not fits or found.min() < 0 or found.max() >= p.shape[1]:
        raise errors.received(
            "`labels` must be the number of a class for each sample, or "
            "one-hot.",
            labels_shape=np.shape(labels),
            probabilities_shape=p.shape,
        )
    return found.astype(int)
