"""The networks of keras.applications without half of their channels."""

import keras
import numpy as np
import pytest

import keras_norm as kn

pytestmark = pytest.mark.all

SHAPE = (64, 64, 3)
NAMES = ("DenseNet121", "EfficientNetB0", "MobileNetV3Small", "ResNet50")


def images(n=4):
    return np.random.default_rng(1).uniform(0, 255, (n, *SHAPE)).astype("f4")


def network(name):
    """Random gammas and betas, and the statistics that belong to them."""
    model = getattr(keras.applications, name)(
        weights=None,
        classes=10,
        input_shape=SHAPE,
        classifier_activation=None,
    )
    random = np.random.default_rng(0)
    for w in model.weights:
        for kind, low, high in (("gamma", 0.3, 1.3), ("beta", -0.3, 0.3)):
            if w.name == kind:
                w.assign(random.uniform(low, high, w.shape))
    kn.tools.recompute_statistics(model, images(), steps=1, batch_size=4)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_masked_model(name):
    model = network(name)
    masked = kn.tools.mask_channels(model, 0.5)
    small, report = kn.tools.prune(model, 0.5, return_report=True)
    # In dense networks, channels that many normalizations meet stay longer.
    assert report.removed > 0.1 * sum(c.channels for c in report.changes)
    assert report.parameters_after < 0.7 * report.parameters_before
    expected = masked.predict(images(), verbose=0)
    found = small.predict(images(), verbose=0)
    size = np.abs(expected).max()
    # The images matter: outputs differ by more than rounding would show.
    assert expected.std(0).max() > 1e-2 * size
    assert np.abs(found - expected).max() <= 1e-5 * size
