"""Domain whitening: forms of the domain, states apart, identities, errors."""

import keras
import numpy as np
import pytest

from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm.layers import BatchNormalization
from keras_norm.layers import DomainWhitening
from oracles.whitening_areas import domain_whitening as oracle

SHAPE = (6, 5, 4, 8)
LABELS = np.array([0, 2, 2, 0, 2, 0], "int32")
STATE = ("moving_mean", "moving_covariance", "whitening_matrix")


def data(shape=SHAPE, seed=0):
    """Channels that depend on each other."""
    rng = np.random.default_rng(seed)
    mix = np.eye(shape[-1]) + 0.1 * rng.normal(size=(shape[-1], shape[-1]))
    return (rng.normal(size=shape) @ mix).astype("float32")


def made(shape=SHAPE, trained=True, **options):
    """A layer, each of three domains with a state of its own."""
    layer = DomainWhitening(3, **options)
    layer.build(shape)
    for d in range(3 if trained else 0):
        layer(data(shape, seed=10 + d) * (d + 1) + d, domain=d, training=True)
    return layer


def state(layer):
    return {n: numpy(getattr(layer, n)) for n in STATE}


def numpy(t):
    return keras.ops.convert_to_numpy(t)


# Forms ------------------------------------------------------------------------

ALIKE = {
    "number": 1,
    "scalar": np.array(1, "int32"),
    "of the domains": np.array([0.0, 1.0, 0.0], "float32"),
    "labels": np.full(6, 1, "int32"),
    "column": np.full((6, 1), 1, "int64"),
    "floats": np.full((6, 1), 1.0, "float32"),
    "weights": np.tile(np.eye(3, dtype="float32")[1], (6, 1)),
    "whole weights": np.tile(np.eye(3, dtype="int32")[1], (6, 1)),
}


@pytest.mark.parametrize("form", ALIKE)
def test_every_form_of_one_domain(form):
    x = data()
    layer, other = made(), made()
    before = state(layer)
    for training in (False, True, False):
        y = layer(x, domain=ALIKE[form], training=training)
        expected = other(x, domain=LABELS * 0 + 1, training=training)
        close(numpy(y), numpy(expected), entries=x.size)
    after, expected = state(layer), state(other)
    for name in STATE:
        close(after[name][1], expected[name][1], entries=x.size)
        assert np.any(after[name][1] != before[name][1])
        # The others keep theirs bit by bit.
        np.testing.assert_array_equal(after[name][::2], before[name][::2])


def test_every_sample_by_its_own_domain():
    x = data()
    layer, whole = made(), made()
    before = state(layer)
    y = numpy(layer(x, LABELS, training=True))
    for d in (0, 2):
        chosen = x[LABELS == d]
        expected = whole(chosen, domain=d, training=True)
        close(y[LABELS == d], numpy(expected), entries=x.size)
    after, expected = state(layer), state(whole)
    for name in STATE:
        close(after[name], expected[name], entries=x.size)
        np.testing.assert_array_equal(after[name][1], before[name][1])
    y = inference(layer, [x, LABELS])
    for d in (0, 2):
        expected = numpy(layer(x[LABELS == d], domain=d))
        close(y[LABELS == d], expected, entries=8)


def test_a_masked_domain_is_absent():
    layer = made()
    before = state(layer)
    layer(data(), LABELS, training=True, mask=LABELS == 0)
    after = state(layer)
    for name in STATE:
        np.testing.assert_array_equal(after[name][1:], before[name][1:])
        assert np.any(after[name][0] != before[name][0])
    layer(data(), domain=1, training=True, mask=np.zeros(6))
    for name in STATE:
        np.testing.assert_array_equal(state(layer)[name], after[name])


def test_weights_between_domains():
    x, layer = data(), made()
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 6)
    y = inference(layer, [x, weights])
    mean, _, matrix = state(layer).values()
    mean = weights @ mean
    matrix = np.einsum("nd,dgij->ngij", weights, matrix)
    centred = (x - mean[:, None, None]).reshape(*SHAPE[:-1], 2, 4)
    expected = np.einsum("ngij,nhwgj->nhwgi", matrix, centred)
    close(y, expected.reshape(SHAPE), entries=8)
    # By their share in the sum; one row serves all samples.
    close(inference(layer, [x, 5.0 * weights]), y, entries=8)
    one = np.array([0.5, 0.25, 0.25], "float32")
    many = np.tile(one, (6, 1))
    close(inference(layer, [x, one]), inference(layer, [x, many]), entries=8)


def test_a_label_of_no_domain():
    x = data()
    layer = made(center=True, beta_initializer="ones")
    before = state(layer)
    labels = np.array([1, 1, 1, 1, -1, 3], "int32")
    for training in (True, False):
        y = inference(layer, [x, labels], training=training)
        np.testing.assert_array_equal(y[4:], np.ones_like(y[4:]))
    layer(x, labels, training=True)
    other = made()
    other(x[:4], domain=1, training=True)
    for name in STATE:
        close(state(layer)[name], state(other)[name], entries=x.size)
        np.testing.assert_array_equal(
            state(layer)[name][::2], before[name][::2]
        )


def test_domain_of_inference():
    x = data()
    for chosen, domain in ((None, 2), (0, 0), (1, 1)):
        layer = made(inference_domain=chosen)
        expected = inference(layer, [x, np.array(domain)])
        np.testing.assert_array_equal(inference(layer, [x]), expected)
        layer.trainable = False
        np.testing.assert_array_equal(
            inference(layer, [x], training=True), expected
        )


def test_one_domain_needs_no_name():
    x = data()
    layer = DomainWhitening(1)
    y = layer(x, training=True)
    expected, _ = oracle([x], {"num_domains": 1}, {}, {}, True)
    close(numpy(y), expected, entries=x.size)


# Identities -------------------------------------------------------------------


def test_groups_of_one_channel_are_batch_normalization():
    # (1 - epsilon) v + epsilon: the epsilon of batch normalization is another.
    x, epsilon = data(), 0.01
    layer = made(group_size=1, epsilon=epsilon, trained=False)
    y = inference(layer, [x, LABELS], training=True)
    for d in (0, 2):
        other = BatchNormalization(
            epsilon=epsilon / (1 - epsilon), center=False, scale=False
        )
        other.build(SHAPE)
        expected = inference(other, [x[LABELS == d]], training=True)
        expected = expected / np.sqrt(1 - epsilon)
        close(y[LABELS == d], expected, entries=x.size)


@pytest.mark.parametrize("whitening", ["cholesky", "zca", "iterative"])
def test_every_domain_is_white(whitening):
    x = data((8, 16, 16, 8))
    labels = np.arange(8) % 3
    x = x * (labels + 1.0)[:, None, None, None] + labels[:, None, None, None]
    layer = DomainWhitening(
        3, group_size=8, whitening=whitening, iterations=20, epsilon=1e-6
    )
    layer.build(x.shape)
    x = x.astype("float32")
    y = inference(layer, [x, labels.astype("int32")], training=True)
    for d in range(3):
        flat = y[labels == d].reshape(-1, 8).astype("float64")
        np.testing.assert_allclose(flat.mean(0), 0.0, atol=1e-5)
        found = flat.T @ flat / len(flat)
        np.testing.assert_allclose(found, np.eye(8), atol=2e-4)


@pytest.mark.parametrize("rank", [2, 4])
def test_domains_far_from_each_other(rank):
    shape = SHAPE if rank == 4 else (12, 8)
    labels = np.arange(shape[0], dtype="int32") % 2
    x = data(shape)
    x = x + np.where(labels == 0, 1e4, -1e4).reshape(-1, *[1] * (rank - 1))
    x = x.astype("float32")
    options = {"num_domains": 2, "group_size": 2}
    layer = DomainWhitening(**options)
    layer.build(shape)
    expected, _ = oracle([x, labels], options, {}, {}, True)
    y = inference(layer, [x, labels], training=True)
    np.testing.assert_allclose(y, expected, atol=1e-4)


@pytest.mark.parametrize("whitening", ["cholesky", "zca", "iterative"])
def test_little_to_whiten(whitening):
    # One place; constant and equal channels; a constant domain.
    x = data((6, 1, 1, 8))
    x[..., 1] = 2.0
    x[..., 3] = x[..., 2]
    x[LABELS == 2] = 1.0
    options = {"num_domains": 3, "whitening": whitening}
    layer = DomainWhitening(**options)
    upstream = np.random.default_rng(1).normal(size=x.shape)
    found = gradients(layer, [[x, LABELS]], upstream)
    assert np.all(np.isfinite(found.inputs[0][0]))
    assert not np.any(found.outputs[LABELS == 2])
    expected, _ = oracle([x, LABELS], options, {}, {}, True)
    np.testing.assert_allclose(found.outputs, expected, atol=1e-3)


def test_gradient_stays_in_the_domain():
    x = data()
    upstream = np.zeros(SHAPE)
    upstream[0] = np.random.default_rng(0).normal(size=SHAPE[1:])
    found = gradients(made(trained=False), [[x, LABELS]], upstream)
    gradient = found.inputs[0][0]
    assert not np.any(gradient[LABELS == 2])
    assert np.all(np.any(gradient[LABELS == 0], axis=(1, 2, 3)))


# Models -----------------------------------------------------------------------


@pytest.mark.compile
@pytest.mark.parametrize("form", ["labels", "floats", "weights"])
def test_fit(form, tmp_path):
    x = data((12, *SHAPE[1:]))
    labels = np.array([0, 2] * 6, "int32")
    domain = {
        "labels": labels,
        # What keras.Input gives unless told otherwise.
        "floats": labels[:, None].astype("float32"),
        "weights": np.eye(3, dtype="float32")[labels],
    }[form]
    inputs = (
        keras.Input(SHAPE[1:]),
        keras.Input(domain.shape[1:], dtype=domain.dtype.name),
    )
    layer = DomainWhitening(3, scale=True)
    model = keras.Model(inputs, layer(inputs[0], inputs[1]))
    before = state(layer)
    jit = keras.backend.backend() != "torch"
    model.compile("sgd", "mse", jit_compile=jit)
    model.fit([x, domain], x, batch_size=6, shuffle=False, verbose=0)
    other = DomainWhitening(3, scale=True)
    for start in (0, 6):
        other(x[start : start + 6], labels[:6], training=True)
    for name, value in state(layer).items():
        close(value, state(other)[name], entries=x.size)
        np.testing.assert_array_equal(value[1], before[name][1])
    y = model.predict([x, domain], verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    close(again.predict([x, domain], verbose=0), y)


def test_a_number_in_a_functional_model():
    x = data()
    layer = made()
    image = keras.Input(SHAPE[1:])
    model = keras.Model(image, layer(image, domain=1))
    expected = inference(layer, [x, np.array(1)])
    close(numpy(model(x)), expected)
    copy = keras.Model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    close(numpy(copy(x)), expected)


def test_half_precision():
    x = data().astype("float16")
    layer = DomainWhitening(3, dtype="mixed_float16")
    y = layer(x * np.float16(1e4), LABELS, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    assert {v.dtype for v in state(layer).values()} == {np.dtype("float32")}
    options = {"num_domains": 3}
    expected, _ = oracle([x * 1e4, LABELS], options, {}, {}, True)
    np.testing.assert_allclose(numpy(y), expected, atol=1e-2)


# Errors -----------------------------------------------------------------------


def test_training_needs_a_domain():
    with pytest.raises(ValueError, match="DomainWhitening needs `domain`"):
        made()(data(), training=True)


@pytest.mark.parametrize(
    "domain",
    [
        np.zeros(6, "float32"),
        np.zeros((6, 2), "int32"),
        np.zeros((6, 4), "float32"),
        np.zeros((6, 3, 1), "float32"),
    ],
    ids=lambda d: f"{d.dtype}{d.shape}",
)
def test_domain_of_another_shape(domain):
    with pytest.raises(ValueError, match=r"`domain` must be .*\(6, 3\)|Rec"):
        made(trained=False)(data(), domain)


@pytest.mark.parametrize("domain", [3, -1, True])
def test_number_of_no_domain(domain):
    with pytest.raises(ValueError, match="`domain` must be an integer from 0"):
        made(trained=False)(data(), domain=domain)
    with pytest.raises(ValueError, match="`inference_domain` must be"):
        DomainWhitening(3, inference_domain=domain)
