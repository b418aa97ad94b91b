"""Calibration and its errors on predictions whose answer is known."""

import numpy as np
import pytest

import keras_norm as kn

pytestmark = pytest.mark.once
calibration = kn.analysis.calibration


def predictions(confidence, right):
    """Two classes; the label is the likelier one where it is right."""
    p = np.stack([confidence, 1 - np.asarray(confidence)], axis=1)
    return p, np.where(right, 0, 1)


def test_by_hand():
    p, labels = predictions(
        [0.55, 0.65, 0.65, 0.95, 0.95], [True, False, True, True, True]
    )
    found = calibration(p, labels)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 1, 2, 0, 0, 2]
    assert np.allclose(found.confidence[[5, 6, 9]], [0.55, 0.65, 0.95])
    assert np.allclose(found.accuracy[[5, 6, 9]], [1.0, 0.5, 1.0])
    assert np.all(np.isnan(found.accuracy[:5]))
    error = (0.45 + 2 * 0.15 + 2 * 0.05) / 5
    assert np.isclose(found.expected_error, error)
    assert np.isclose(found.maximum_error, 0.45)
    of_label = np.array([0.55, 0.35, 0.65, 0.95, 0.95])
    likelihood = np.log(of_label).mean()
    assert np.isclose(found.negative_log_likelihood, -likelihood)
    assert np.isclose(found.brier, np.mean(2 * (1 - of_label) ** 2))


def test_bins_of_equal_numbers():
    p, labels = predictions([0.6, 0.7, 0.8, 0.9], [True, False, True, True])
    found = calibration(p, labels, bins=2, binning="samples")
    assert found.counts.tolist() == [2, 2]
    assert np.allclose(found.confidence, [0.65, 0.85])
    assert np.allclose(found.accuracy, [0.5, 1.0])
    assert np.allclose(found.edges, [0.6, 0.75, 0.9])
    # Edges belong to the bin below.
    assert calibration(p, labels, bins=5).counts.tolist() == [0, 0, 1, 2, 1]


def test_labels_drawn_from_the_predictions():
    """Calibrated: the error is that of chance in ten bins."""
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(4), 40000)
    labels = (p.cumsum(axis=1) < random.random((40000, 1))).sum(axis=1)
    found = calibration(p, labels)
    # Five standard errors of a bin of a hundredth of the samples.
    assert found.expected_error <= 5 * 0.5 / 20
    assert found.expected_error <= 0.01
    sharpened = p**3 / np.sum(p**3, axis=1, keepdims=True)
    assert calibration(sharpened, labels).expected_error > 0.2


def test_forms_of_probabilities_and_labels():
    p, labels = predictions([0.65, 0.85, 0.35], [True, False, True])
    expected = calibration(p, labels)
    for given in (p[:, 1], p[:, 1:], p.astype("float32")):
        found = calibration(given, labels)
        assert np.isclose(found.brier, expected.brier)
        assert np.isclose(found.expected_error, expected.expected_error)
    for given in (labels[:, None], np.eye(2)[labels], labels.tolist()):
        assert calibration(p, given).brier == expected.brier


def test_plot():
    pytest.importorskip("matplotlib").use("Agg")
    found = calibration(*predictions([0.6, 0.8], [True, False]))
    axes = found.plot()
    assert found.plot(axes) is axes
    assert axes.get_lines()[1].get_xdata().tolist() == [0.6, 0.8]


def test_errors():
    p, labels = predictions([0.6, 0.8], [True, False])
    for wrong in (3 * p, p[:0], np.full((2, 2), np.nan), p[None]):
        with pytest.raises(ValueError, match="`probabilities` must not be"):
            calibration(wrong, labels)
    for wrong in ([0, 2], [0, -1], [0.5, 0], [0], np.zeros((2, 1, 1))):
        with pytest.raises(ValueError, match="`labels` must be the number"):
            calibration(p, wrong)
    with pytest.raises(ValueError, match="`bins` must be an integer"):
        calibration(p, labels, bins=0)
    with pytest.raises(ValueError, match="`binning` must be one of.*widht"):
        calibration(p, labels, binning="widht")
