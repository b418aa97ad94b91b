"""Mixture normalization: the fit, its start, and its identities."""

import numpy as np
import pytest

from contract.method import numpy
from contract.method import values
from contract.tolerances import close
from gradients import gradients
from keras_norm.core import gaussian_mixture as gm
from keras_norm.layers import BatchNormalization
from keras_norm.layers import MixtureNormalization
from oracles import ORACLES

SHAPE = (6, 4, 3, 8)


def data(seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 2.0, SHAPE).astype("float32")


def clusters(distance=1e3, seed=0):
    """(points in three tight clusters, which of them each is in)."""
    member = np.arange(np.prod(SHAPE[:3])).reshape(*SHAPE[:3], 1) % 3
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    return (noise + distance * member).astype("float32"), member[..., 0]


def test_one_component_is_batch_normalization():
    layer = MixtureNormalization(1, momentum=0.9)
    twin = BatchNormalization(momentum=0.0, epsilon=1e-3)
    x, upstream = data(shift=1e4), data(1)
    ours, theirs = (gradients(t, [x], upstream) for t in (layer, twin))
    close(ours.outputs, theirs.outputs, entries=x.size)
    close(ours.inputs[0], theirs.inputs[0], entries=x.size)
    # The first batch is taken as it is, the others move what is kept.
    close(numpy(layer(x)), numpy(twin(x)), entries=x.size)
    twin.momentum = twin.statistics.momentum = 0.9
    x = data(2, 1e4)
    layer(x, training=True)
    twin(x, training=True)
    close(numpy(layer.mixture_mean)[0], numpy(twin.moving_mean), x.size)
    close(numpy(layer.mixture_variance)[0], numpy(twin.moving_variance), x.size)


def test_components_that_are_the_same():
    layer = MixtureNormalization(3)
    layer.build(SHAPE)
    layer.initialized.assign(1.0)
    x = data()
    twin = BatchNormalization(epsilon=1e-3)
    expected = np.sqrt(3.0) * numpy(twin(x, training=True))
    close(numpy(layer(x, training=True)), expected, entries=x.size)


def test_first_call_is_that_of_the_formula(monkeypatch):
    layer = MixtureNormalization(3, seed=1)
    layer.build(SHAPE)
    chosen, seeded = [], gm.seeded

    def spy(points, *rest):
        found = seeded(points, *rest)
        chosen.append((numpy(points.values), numpy(found.mean)))
        return found

    monkeypatch.setattr(gm, "seeded", spy)
    x = data()
    weights, state = values(layer)
    y = numpy(layer(x, training=True))
    (points, centres), *_ = chosen
    # Three of the points.
    for centre in centres:
        assert np.any(np.all(points == centre, axis=1))
    centres = centres + np.mean(x.reshape(-1, 8) - points, axis=0)
    config = {"centres": centres}
    oracle = ORACLES["MixtureNormalization"]
    expected, new = oracle([x], config, weights, state, True)
    close(y, expected, entries=x.size)
    for name, value in values(layer)[1].items():
        close(value, new[name], entries=x.size)


@pytest.mark.parametrize("limit", [4096, 40])
def test_clusters_are_found(limit):
    layer = MixtureNormalization(
        3, max_fit_samples=limit, center=False, scale=False, seed=0
    )
    x, member = clusters()
    y = numpy(layer(x, training=True))
    for k in range(3):
        # Standardized by its own moments, times 1 / sqrt(1 / 3); epsilon takes
        # 5e-4 of the deviation.
        own = y[member == k]
        np.testing.assert_allclose(own.mean(0), 0.0, atol=1e-5)
        np.testing.assert_allclose(own.std(0), np.sqrt(3.0), rtol=2e-3)
    close(numpy(layer.mixture_weight), np.full(3, 1 / 3))
    found = np.sort(numpy(layer.mixture_mean)[:, 0])
    np.testing.assert_allclose(found, [0, 1e3, 2e3], atol=1.0)


def test_components_that_are_far_apart():
    # Each is as exact as if it were alone.
    layer = MixtureNormalization(2)
    layer.build(SHAPE)
    layer.initialized.assign(1.0)
    layer.mixture_mean.assign(np.array([[0.0], [1e4]]) + np.zeros(8))
    far = np.arange(6).reshape(-1, 1, 1, 1) % 2
    x = (data() + 1e4 * far).astype("float32")
    oracle = ORACLES["MixtureNormalization"]
    for training in (False, True):
        weights, state = values(layer)
        config = {"num_components": 2}
        expected, _ = oracle([x], config, weights, state, training)
        y = numpy(layer(x, training=training))
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_masked_points_are_never_chosen():
    x, member = clusters()
    # Only two of the clusters are seen; the third holds anything.
    mask = member < 2
    x[~mask] = np.nan
    layer = MixtureNormalization(2, seed=0)
    layer(x, training=True, mask=mask)
    found = np.sort(numpy(layer.mixture_mean)[:, 0])
    np.testing.assert_allclose(found, [0, 1e3], atol=1.0)
    close(numpy(layer.mixture_weight), [0.5, 0.5])


@pytest.mark.parametrize(
    "case", ["zeros", "constant", "one point", "two values", "outlier"]
)
def test_first_calls_on_degenerate_batches(case):
    x = {
        "zeros": np.zeros(SHAPE),
        "constant": np.full(SHAPE, 1e4 + 0.1),
        "one point": data()[:1, :1, :1],
        "two values": np.round(data() > 1.0),
        "outlier": np.where(np.arange(8) == 3, 1e6, data()),
    }[case].astype("float32")
    layer = MixtureNormalization(3, seed=0)
    found = gradients(layer, [x], np.ones_like(x))
    assert np.all(np.isfinite(found.outputs))
    assert np.all(np.isfinite(found.inputs[0]))
    for value in layer.get_weights():
        assert np.all(np.isfinite(value))
    if case in ("zeros", "constant", "one point"):
        np.testing.assert_array_equal(found.outputs, np.zeros_like(x))


def test_nothing_seen_starts_nothing():
    layer = MixtureNormalization(3, seed=0)
    layer.build(SHAPE)
    before = layer.get_weights()
    layer(data(), training=True, mask=np.zeros(6, "bool"))
    layer(data()[:0], training=True)
    for value, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_batches_keep_the_order_of_the_components():
    layer = MixtureNormalization(3, momentum=0.5, seed=0)
    orders = []
    for seed in range(3):
        x, _ = clusters(seed=seed)
        layer(x, training=True)
        means = numpy(layer.mixture_mean)[:, 0]
        orders.append(np.argsort(means))
        np.testing.assert_array_equal(orders[-1], orders[0])
        np.testing.assert_allclose(means[orders[0]], [0, 1e3, 2e3], atol=1.0)


def test_the_seed_says_what_is_drawn():
    means = []
    for seed in (1, 1, 2):
        layer = MixtureNormalization(3, em_steps=1, seed=seed)
        layer(data(), training=True)
        means.append(numpy(layer.mixture_mean))
    np.testing.assert_array_equal(means[0], means[1])
    assert np.any(means[0] != means[2])


def test_errors():
    for name in ("num_components", "em_steps", "max_fit_samples"):
        for value in (0, 2.0, None, True):
            with pytest.raises(ValueError, match=f"`{name}` must be"):
                MixtureNormalization(**{name: value})
