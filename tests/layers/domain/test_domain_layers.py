"""Layers of domains: forms of the domain, states apart, identities, errors."""

import keras
import numpy as np
import pytest

from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm.layers import BatchNormalization
from keras_norm.layers import DomainAlignmentNormalization
from keras_norm.layers import DomainSpecificBatchNormalization
from keras_norm.layers import DomainSpecificOptimizedNormalization
from keras_norm.layers import TransferableNormalization

SHAPE = (6, 4, 3, 8)
LABELS = np.array([0, 1, 1, 0, 1, 0], "int32")
HALVES = np.array([0, 0, 0, 1, 1, 1], "int32")
STATE = ("moving_mean", "moving_variance")
# Three domains where there may be any number; the third is absent.
LAYERS = {
    "specific": (DomainSpecificBatchNormalization, {"num_domains": 3}),
    "alignment": (DomainAlignmentNormalization, {"alpha_initializer": 0.8}),
    "transferable": (TransferableNormalization, {}),
    "optimized": (DomainSpecificOptimizedNormalization, {"num_domains": 3}),
}
TWO = ("alignment", "transferable")


def initializer(options):
    """A number for alpha as Keras takes it."""
    value = options.get("alpha_initializer")
    if value is None:
        return options
    constant = keras.initializers.Constant(value)
    return {**options, "alpha_initializer": constant}


def data(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def made(name, shape=SHAPE, **options):
    """A layer whose domains have weights and state of their own."""
    cls, own = LAYERS[name]
    layer = cls(**{**initializer(own), **options})
    layer.build(shape)
    rng = np.random.default_rng(5)
    for w in layer.weights:
        if w.name != "alpha":
            w.assign(numpy(w) + rng.uniform(0.1, 0.5, w.shape))
    return layer


def state(layer):
    return {n: numpy(getattr(layer, n)) for n in STATE}


def numpy(t):
    return keras.ops.convert_to_numpy(t)


# Forms of the domain ----------------------------------------------------------

ALIKE = {
    "number": lambda size: 1,
    "scalar": lambda size: np.array(1, "int32"),
    "column": lambda size: np.full((6, 1), 1.0, "float32"),
    "of the domains": lambda size: np.eye(size, dtype="float32")[1],
    "weights": lambda size: np.tile(np.eye(size, dtype="float32")[1], (6, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_form_of_one_domain(name):
    x = data()
    size = 2 if name in TWO else 3
    expected, moved = None, None
    for form in (None, *ALIKE):
        # One integer for each sample, and what must be the same.
        domain = np.full(6, 1, "int32") if form is None else ALIKE[form](size)
        layer = made(name)
        before = state(layer)
        y = [numpy(layer(x, domain=domain, training=True))]
        y.append(numpy(layer(x, domain=domain)))
        after = state(layer)
        if form is None:
            expected, moved = y, after
        for a, b in zip(y, expected, strict=True):
            close(a, b, entries=x.size)
        for key in STATE:
            close(after[key][1], moved[key][1], entries=x.size)
            assert np.any(after[key][1] != before[key][1])
            # Domains without a sample keep theirs bit by bit.
            others = np.arange(size) != 1
            np.testing.assert_array_equal(
                after[key][others], before[key][others]
            )


@pytest.mark.parametrize("name", ["specific", "optimized"])
def test_every_sample_by_its_own_domain(name):
    x, layer, apart = data(), made(name), made(name)
    before = state(layer)
    y = numpy(layer(x, LABELS, training=True))
    for d in (0, 1):
        own = apart(x[LABELS == d], domain=d, training=True)
        close(y[LABELS == d], numpy(own), entries=x.size)
    for key in STATE:
        close(state(layer)[key], state(apart)[key], entries=x.size)
        np.testing.assert_array_equal(state(layer)[key][2], before[key][2])


@pytest.mark.parametrize("name", LAYERS)
def test_a_masked_domain_is_absent(name):
    layer = made(name)
    before = state(layer)
    layer(data(), LABELS, training=True, mask=LABELS == 0)
    after = state(layer)
    for key in STATE:
        np.testing.assert_array_equal(after[key][1:], before[key][1:])
        assert np.all(after[key][0] != before[key][0])


@pytest.mark.parametrize("name", LAYERS)
def test_weights_mix_the_rows_of_the_domains(name):
    x, layer = data(), made(name)
    size = 2 if name in TWO else 3
    weights = np.random.default_rng(0).dirichlet(np.ones(size), 6)
    weights = weights.astype("float32")
    found = inference(layer, [x, weights])
    close(inference(layer, [x, 5.0 * weights]), found, entries=size)
    mean, variance = (weights @ rows for rows in state(layer).values())
    if name == "specific":
        gamma, beta = (weights @ numpy(w) for w in (layer.gamma, layer.beta))
        wide = (slice(None), None, None)
        expected = (x - mean[wide]) / np.sqrt(variance[wide] + 1e-5)
        expected = gamma[wide] * expected + beta[wide]
        close(found, expected, entries=size)
    one = weights[0]
    many = np.tile(one, (6, 1))
    close(inference(layer, [x, one]), inference(layer, [x, many]), entries=size)
    close(inference(layer, [x, one])[0], found[0], entries=size)


def test_weights_reach_the_gradient():
    # d y / d w_d of what is divided by the sum of the weights.
    x, layer = data(), made("specific")
    weights = np.full((6, 3), 1 / 3, "float32")
    upstream = np.random.default_rng(1).normal(size=SHAPE)
    found = gradients(layer, [[x, weights]], upstream, training=False)
    of_weights = found.inputs[0][1]
    step = 1e-2
    for d in range(3):
        ends = []
        for sign in (1, -1):
            moved = weights.copy()
            moved[0, d] += sign * step
            y = inference(layer, [x, moved]).astype("float64")
            ends.append(np.sum(y[0] * upstream[0]))
        slope = (ends[0] - ends[1]) / (2 * step)
        # The third derivative of the difference is of the order of 1.
        assert abs(of_weights[0, d] - slope) < 1e-2 * np.abs(of_weights).max()


@pytest.mark.parametrize("shared", [False, True])
def test_a_label_of_no_domain(shared):
    x = data()
    layer = made("specific", shared_affine=shared)
    labels = np.array([0, 0, 1, 1, -1, 7], "int32")
    expected = numpy(layer.beta) if shared else 0.0
    for training in (True, False):
        y = inference(layer, [x, labels], training=training)
        np.testing.assert_array_equal(y[4:], np.zeros_like(y[4:]) + expected)
    other = made("specific", shared_affine=shared)
    layer(x, labels, training=True)
    other(x[:4], labels[:4], training=True)
    for key in STATE:
        close(state(layer)[key], state(other)[key], entries=x.size)


@pytest.mark.parametrize("name", LAYERS)
def test_domain_of_inference(name):
    x = data()
    last = 1 if name in TWO else 2
    given = [(0, 0), (1, 1)] if name in TWO else [(None, last), (1, 1)]
    for chosen, domain in given:
        layer = made(name, inference_domain=chosen)
        expected = inference(layer, [x, np.array(domain)])
        np.testing.assert_array_equal(inference(layer, [x]), expected)


@pytest.mark.parametrize("name", TWO)
def test_halves_are_source_and_target(name):
    x, layer, other = data(), made(name), made(name)
    y = numpy(layer(x, training=True))
    close(y, numpy(other(x, HALVES, training=True)), entries=x.size)
    for key in STATE:
        close(state(layer)[key], state(other)[key], entries=x.size)


# Identities -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["specific", "optimized"])
def test_one_domain_is_batch_normalization(name):
    x = data()
    layer = made(name, num_domains=1)
    other = BatchNormalization(momentum=0.9, epsilon=1e-5)
    other.build(SHAPE)
    if name == "optimized":
        # Nothing of the instance, whose variance is then biased.
        layer = made(name, num_domains=1, unbiased=False)
        for w in (layer.mean_weight, layer.variance_weight):
            w.assign(np.array([[-1e4, 1e4]]))
    named = {w.name: numpy(w)[0] for w in layer.weights}
    other.set_weights([named[w.name] for w in other.weights])
    upstream = np.random.default_rng(1).normal(size=SHAPE)
    a, b = (gradients(one, [x], upstream) for one in (layer, other))
    close(a.outputs, b.outputs, entries=x.size)
    close(a.inputs[0], b.inputs[0], entries=x.size)
    for w in ("gamma", "beta"):
        close(a.weights[w][0], b.weights[w], entries=x.size)
    for key in STATE:
        close(state(layer)[key][0], numpy(getattr(other, key)), entries=x.size)
    close(inference(layer, [x]), inference(other, [x]), entries=8)


def test_shares_of_one_make_optimized_specific():
    x = data()
    layer = made("optimized", unbiased=False)
    other = made("specific")
    for w in (layer.mean_weight, layer.variance_weight):
        w.assign(np.tile([-1e4, 1e4], (3, 1)))
    for w in other.weights:
        w.assign(getattr(layer, w.name))
    for training in (True, False):
        y = layer(x, LABELS, training=training)
        close(
            numpy(y), numpy(other(x, LABELS, training=training)), entries=x.size
        )


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_alignment_between_apart_and_alike(alpha):
    x = data()
    x[LABELS == 1] += 2.0
    layer = made("alignment")
    layer.alpha.assign(alpha)
    y = inference(layer, [x, LABELS], training=True)
    apart = BatchNormalization(epsilon=1e-5, center=False, scale=False)
    for d in (0, 1):
        # Domains of equal size: the union of both, or each of its own.
        pooled = x if alpha == 0.5 else x[LABELS == d]
        expected = numpy(apart(pooled, training=True))
        expected = expected[LABELS == d] if alpha == 0.5 else expected
        close(y[LABELS == d], expected, entries=x.size)


def test_alpha_stays_within_its_bounds():
    layer = made("alignment")
    for start, end in ((0.3, 0.5), (0.7, 0.7), (1.2, 1.0)):
        bounded = numpy(layer.alpha.constraint(np.float32(start)))
        np.testing.assert_allclose(bounded, end, rtol=1e-6)


def test_alpha_learns():
    x = data()
    x[LABELS == 1] += 1.0
    upstream = np.random.default_rng(1).normal(size=SHAPE)
    slope = gradients(made("alignment"), [[x, LABELS]], upstream).weights
    ends = []
    for alpha in (0.81, 0.79):
        layer = made("alignment")
        layer.alpha.assign(alpha)
        y = inference(layer, [x, LABELS], training=True).astype("float64")
        ends.append(np.sum(y * upstream))
    expected = (ends[0] - ends[1]) / 0.02
    # Of the step: its square times the third derivative.
    assert abs(slope["alpha"] - expected) < 1e-3 * max(1.0, abs(expected))


def test_domains_alike_double_what_is_transferable():
    x = data((3, *SHAPE[1:]))
    x = np.concatenate([x, x])
    layer, other = made("transferable"), BatchNormalization(epsilon=1e-5)
    other.build(SHAPE)
    other.gamma.assign(layer.gamma)
    other.beta.assign(layer.beta)
    upstream = np.random.default_rng(1).normal(size=SHAPE)
    y = inference(layer, [x], training=True)
    close(y, 2.0 * inference(other, [x], training=True), entries=x.size)
    # The factor is a constant to the gradient.
    a = gradients(layer, [x], upstream).inputs[0][:3]
    b = gradients(other, [x[:3]], upstream[:3]).inputs[0]
    close(a, 2.0 * b, entries=x.size)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("rank", [2, 4])
def test_domains_far_from_each_other(name, rank):
    shape = SHAPE if rank == 4 else (12, 8)
    labels = np.arange(shape[0], dtype="int32") % 2
    far = np.where(labels == 0, 1e4, -1e4).reshape(-1, *[1] * (rank - 1))
    x = (data(shape) + far).astype("float32")
    axes = tuple(range(rank - 1))
    parts = [(x[labels == d] - far[labels == d][0]) for d in (0, 1)]
    parts = [part.astype("float64") for part in parts]
    # Alpha at 1: no share of the other domain.
    options = {"alpha_initializer": 1.0} if name == "alignment" else {}
    layer = LAYERS[name][0](**initializer(options))
    y = numpy(layer(x, labels, training=True))
    factor = 1.0
    if name == "transferable":
        factor = 1.0 + transferability(parts, (1e4, -1e4), axes)
    for d, part in enumerate(parts):
        mean, variance = part.mean(axes), part.var(axes)
        if name == "optimized":
            mean, variance = optimized(part, mean, variance)
        expected = factor * (part - mean) / np.sqrt(variance + 1e-5)
        np.testing.assert_allclose(y[labels == d], expected, atol=1e-4)


def transferability(parts, far, axes):
    """The authors' alpha, of data from which `far` was subtracted."""
    ratios = [
        (part.mean(axes) + shift) / np.sqrt(part.var(axes, ddof=1) + 1e-5)
        for part, shift in zip(parts, far, strict=True)
    ]
    p = 1.0 / (1.0 + np.abs(ratios[0] - ratios[1]))
    return p / p.mean()


def optimized(part, mean, variance):
    """Half of the domain's moments, half of the instance's."""
    if part.ndim == 2:
        return mean, variance * len(part) / (len(part) - 1)
    m = part.shape[1] * part.shape[2]
    own = part.mean((1, 2), keepdims=True)
    spread = part.var((1, 2), keepdims=True) * m / (m - 1)
    pooled = (spread + np.square(own - mean)).mean(0, keepdims=True)
    return (own + mean) / 2, (spread + pooled) / 2


# Models -----------------------------------------------------------------------


@pytest.mark.compile
def test_fit_of_real_and_generated_batches(tmp_path):
    """The discriminator of a GAN: one layer, statistics of two kinds."""
    x = data((12, 8))
    kind = np.repeat(np.array([0, 1], "int32"), 6)
    inputs = keras.Input((8,)), keras.Input((), dtype="int32")
    layer = DomainSpecificBatchNormalization(2, momentum=0.5)
    model = keras.Model(inputs, layer(inputs[0], inputs[1]))
    jit = keras.backend.backend() != "torch"
    model.compile("sgd", "mse", jit_compile=jit)
    # One batch of each.
    model.fit([x, kind], x, batch_size=6, shuffle=False, verbose=0)
    found = state(layer)
    expected = [0.5 * part.mean(0) for part in (x[:6], x[6:])]
    close(found["moving_mean"], np.stack(expected), entries=6)
    expected = [0.5 + 0.5 * part.var(0) for part in (x[:6], x[6:])]
    close(found["moving_variance"], np.stack(expected), entries=6)
    layer.updates.forget()
    y = model.predict([x, kind], verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    close(again.predict([x, kind], verbose=0), y)


# Errors -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["specific", "optimized"])
def test_training_needs_a_domain(name):
    cls = LAYERS[name][0].__name__
    with pytest.raises(ValueError, match=f"{cls} needs `domain` in training"):
        made(name)(data(), training=True)


@pytest.mark.parametrize("name", LAYERS)
def test_number_of_no_domain(name):
    for domain in (3, -1):
        with pytest.raises(ValueError, match="`domain` must be an integer"):
            made(name)(data(), domain=domain)
    with pytest.raises(ValueError, match="an entry for every sample"):
        made(name)(data(), np.zeros(4, "int32"))
    with pytest.raises(ValueError, match="`inference_domain` must be"):
        LAYERS[name][0](inference_domain=2)


def test_number_of_domains():
    with pytest.raises(ValueError, match="`num_domains` must be an integer"):
        DomainSpecificBatchNormalization(0)
