"""The reference implementations of the chapters mixture and domain.

Among themselves: special cases, masks against cut-out data, and gradients
with parts held constant against central differences. NumPy only.
"""

import numpy as np
import pytest

from oracles import GRADIENTS
from oracles import initial_state
from oracles import mixture_shapes
from oracles import weight_shapes
from oracles.calls import gradient
from oracles.calls import random
from oracles.calls import run
from oracles.calls import slope
from oracles.common import bessel
from oracles.domain import fitted_covariance_normalization
from oracles.dynamic import opened
from oracles.mixtures import sparsestmax

pytestmark = pytest.mark.once

X = random(6, 5, 4)
DY = random(6, 5, 4, seed=9)
STATE = {
    "moving_mean": random(4, seed=2),
    "moving_variance": 0.5 + random(4, seed=3) ** 2,
}
# Logits that leave a single normalizer.
CERTAIN = 1e4


def close(a, b, rtol=1e-10, atol=1e-10):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def area(x, axes, unbiased=False, epsilon=1e-5):
    mean = x.mean(axes, keepdims=True)
    count = np.prod([x.shape[a] for a in axes])
    variance = x.var(axes, keepdims=True) * (bessel(count) if unbiased else 1)
    return (x - mean) / np.sqrt(variance + epsilon)


def batch(x, epsilon=1e-5):
    return area(x, (0, 1), epsilon=epsilon)


def instance(x, unbiased=False):
    return area(x, (1,), unbiased)


def layer(x, unbiased=False):
    return area(x, (1, 2), unbiased)


def group(x, groups):
    cut = x.reshape(*x.shape[:2], groups, -1)
    return area(cut, (1, 3)).reshape(x.shape)


# Sparse switchable normalization ---------------------------------------------


def test_sparsestmax():
    z = np.array([0.3, 0.9, 0.1])
    assert np.all(sparsestmax(z, 0.9) == [0, 1, 0])
    p = sparsestmax(z, 0.0)
    close(np.sum(p), 1.0)
    # Farther out on the same ray, then along an edge.
    u = np.full(3, 1 / 3)
    p = sparsestmax(0.1 * z, 0.3)
    close(np.linalg.norm(p - u), 0.3)
    direction = 0.1 * (z - z.mean())
    close((p - u) / 0.3, direction / np.linalg.norm(direction))
    p = sparsestmax(0.1 * z, 0.6)
    assert p[2] == 0 and 0 < p[0] < p[1]
    close(np.linalg.norm(p - u), 0.6)
    for radius in (0.0, 0.5, 1.0):
        close(sparsestmax(np.ones(3), radius), u)
        close(sparsestmax([1.0, 1.0, -5.0], radius), [0.5, 0.5, 0.0])


@pytest.mark.parametrize("radius", [0.0, 0.82])
@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_sparse_switchable_decides(chosen, radius):
    name, config = "SparseSwitchableNormalization", {"unbiased": False}
    one_hot = np.eye(3)[chosen]
    # A small step is far enough once the radius is large.
    size = 2.0 if radius == 0 else 0.01
    w = {"mean_weight": size * one_hot, "variance_weight": size * one_hot}
    state = {**STATE, "radius": radius}
    y, new = run(name, X, config, state, w=w)
    close(y, [instance(X), layer(X), batch(X)][chosen])
    close(new["mean_chosen"], one_hot)
    close(new["variance_chosen"], one_hot)
    # It stays, whatever the logits become.
    other, _ = run(name, X, config, {**new, "radius": 0.0})
    close(other, y)
    _, kept = run(name, X, config, state, training=False, w=w)
    close(kept["mean_chosen"], 0)


def test_sparse_switchable_undecided():
    name, config = "SparseSwitchableNormalization", {"unbiased": False}
    y, new = run(name, X, config, {"radius": 0.7})
    close(y, run("SwitchableNormalization", X, config)[0])
    assert not np.any(new["mean_chosen"])


# Exemplar, dynamic -----------------------------------------------------------


def test_exemplar():
    name = "ExemplarNormalization"
    w = some_weights(name, {}, X.shape)
    three = [instance(X), layer(X), batch(X)]
    w["gate_kernel"] = 0 * w["gate_kernel"]
    w["gate_bias"] = np.zeros(3)
    y, _ = run(name, X, w=w)
    parts = [
        part * gamma + beta
        for part, gamma, beta in zip(three, w["gamma"], w["beta"], strict=True)
    ]
    close(y, np.mean(parts, axis=0))
    for k in range(3):
        w["gate_bias"] = CERTAIN * np.eye(3)[k]
        close(run(name, X, w=w)[0], parts[k])


def test_exemplar_sees_one_sample():
    name, config = "ExemplarNormalization", {"reduction": 2}
    config["normalizers"] = ("layer", "instance")
    w = some_weights(name, config, X.shape)
    assert w["squeeze_kernel"].shape == (4, 2)
    assert initial_state(name, config, X.shape) == {}
    y, _ = run(name, X, config, w=w)
    other = X.copy()
    other[2] *= 3
    moved, _ = run(name, other, config, w=w)
    close(np.delete(moved, 2, 0), np.delete(y, 2, 0))
    # The features do something.
    w["gate_kernel"] = -3 * w["gate_kernel"]
    assert np.any(np.abs(run(name, X, config, w=w)[0] - y) > 1e-3)


@pytest.mark.parametrize(
    "gates, expected",
    [
        ((0, 0, 0), instance(X)),
        ((1, 1, 0), layer(X)),
        ((0, 0, 1), batch(X)),
        ((1, 1, 1), area(X, (0, 1, 2))),
        ((0, 1, 0), group(X, 2)),
        # Channels 0 and 2, 1 and 3.
        ((1, 0, 0), group(X[..., [0, 2, 1, 3]], 2)[..., [0, 2, 1, 3]]),
    ],
)
def test_dynamic(gates, expected):
    logits = 2.0 * np.array(gates) - 1
    w = {"channel_gates": logits[:2], "batch_gate": logits[2]}
    name = "DynamicNormalization"
    y, new = run(name, X, w=w)
    close(y, expected)
    close(new["moving_mean"], 0.1 * X.mean((0, 1)))
    close(new["moving_variance"], 0.9 + 0.1 * X.var((0, 1)))
    soft = {k: CERTAIN * v for k, v in w.items()}
    close(run(name, X, {"hard": False}, w=soft)[0], expected)
    z, _ = run(name, X, {}, STATE, training=False, w=w)
    if gates == (0, 0, 1):
        root = np.sqrt(STATE["moving_variance"] + 1e-5)
        close(z, (X - STATE["moving_mean"]) / root)
    elif not gates[2]:
        close(z, expected)


def test_dynamic_is_a_product_of_averages():
    """M = U mean V and Q = U E[x^2] V with matrices, gates half open."""
    x, name, config = random(5, 3, 6), "DynamicNormalization", {"hard": False}
    w = {"channel_gates": np.array([0.3, -0.8]), "batch_gate": np.array(0.5)}
    y, _ = run(name, x, config, w=w)
    a, b, u = opened([0.3, -0.8, 0.5], False)
    half = (1 - a) * np.eye(2) + a / 2
    third = (1 - b) * np.eye(3) + b / 3
    of_channels = np.kron(half, third)
    of_batch = (1 - u) * np.eye(5) + u / 5
    mean = of_batch @ x.mean(1) @ of_channels
    square = of_batch @ (x**2).mean(1) @ of_channels
    root = np.sqrt(square - mean**2 + 1e-5)
    close(y, (x - mean[:, None]) / root[:, None])


# Gated -----------------------------------------------------------------------


def test_gates():
    name = "BatchInstanceNormalization"
    close(run(name, X)[0], batch(X))
    close(run(name, X, w={"gate": np.zeros(4)})[0], instance(X))
    gate = {"gate": random(4, seed=4)}
    close(run(name, X[:1], w=gate)[0], instance(X[:1]))
    gamma, beta = random(2, 6, 4, seed=5)
    for unbiased in (False, True):
        config = {"unbiased": unbiased}
        name = "LayerInstanceNormalization"
        close(run(name, X, config)[0], layer(X, unbiased))
        own = {"gate": np.ones(4)}
        close(run(name, X, config, w=own)[0], instance(X, unbiased))
        name = "AdaptiveLayerInstanceNormalization"
        y, _ = run(name, [X, gamma, beta], config)
        mixed = 0.9 * instance(X, unbiased) + 0.1 * layer(X, unbiased)
        close(y, gamma[:, None] * mixed + beta[:, None])


def test_task():
    name, context = "TaskNormalization", random(4, 5, 4, seed=5, shift=2)
    of_context = context.mean((0, 1)), context.var((0, 1), ddof=1)
    as_batch = (X - of_context[0]) / np.sqrt(of_context[1] + 1e-5)
    for augment, own in (("instance", instance), ("layer", layer)):
        config = {"augment": augment}
        w = {"offset": np.array(CERTAIN)}
        y, new = run(name, [X, context], config, w=w)
        close(y, as_batch)
        close(new["context_variance"], of_context[1])
        assert new["context_size"] == 4
        close(run(name, X, config, new, training=False, w=w)[0], y)
        y, _ = run(name, X, config, w={"offset": np.array(-CERTAIN)})
        close(y, own(X, unbiased=True))
        # The batch is its own context.
        y, _ = run(name, X, config)
        close(run(name, [X, X], config)[0], y)
        # A part of the variance is between the two.
        state = {"context_mean": np.full(4, 50.0), "context_variance": 0}
        y, _ = run(name, 0 * X, config, state, training=False)
        close(y, -25 / np.sqrt(25**2 + 1e-5))


def test_instance_batch():
    name = "InstanceBatchNormalization"
    y, new = run(name, X, {"ratio": 0.3})
    close(y, np.concatenate([instance(X)[..., :1], batch(X)[..., 1:]], -1))
    assert new["moving_mean"].shape == (3,)
    close(run(name, X, {"ratio": 0.0})[0], batch(X))
    close(run(name, X, {"ratio": 1.0})[0], instance(X))
    config = {"variant": "b"}
    close(run(name, X, config)[0], instance(X))
    close(run(name, [X, DY], config)[0], instance(X + DY))


def test_batch_channel():
    name, config = "BatchChannelNormalization", {"groups": 2}
    w = some_weights(name, config, X.shape)
    y, _ = run(name, X, config, w=w)
    z = group(batch(X) * w["gamma"] + w["beta"], 2)
    gamma, beta = (np.repeat(w[f"group_{k}"], 2) for k in ("gamma", "beta"))
    close(y, z * gamma + beta)
    estimate = {**config, "estimate": True}
    close(run(name, X, {**estimate, "momentum": 0.0}, w=w)[0], y)
    y, new = run(name, X, estimate, w=w)
    close(run(name, X, estimate, new, training=False, w=w)[0], y)


# Modes -----------------------------------------------------------------------


def test_modes():
    name = "ModeNormalization"
    kernel, bias = random(4, 3, seed=4), random(3, seed=5)
    y, new = run(name, X, {"num_modes": 1}, w={"gate_kernel": kernel[:, :1]})
    close(y, batch(X))
    first, second = 0.1 * X.mean((0, 1)), 0.9 + 0.1 * (X**2).mean((0, 1))
    close(new["moving_mean"][0], first)
    close(new["moving_variance"][0], second - first**2)
    close(run(name, X, {"num_modes": 3})[0], batch(X))
    config = {"num_modes": 3}
    w = {"gate_kernel": kernel, "gate_bias": bias}
    y, _ = run(name, X, config, w=w)
    other = {"gate_kernel": kernel[:, ::-1], "gate_bias": bias[::-1]}
    close(run(name, X, config, w=other)[0], y)


def test_mixture_of_one_component():
    name, config = "MixtureNormalization", {"num_components": 1}
    state = {
        "mixture_mean": random(1, 4, seed=2),
        "mixture_variance": 0.5 + random(1, 4, seed=3) ** 2,
        "initialized": np.array(1.0),
    }
    y, new = run(name, X, config, state)
    close(y, batch(X, 1e-3))
    close(new["mixture_weight"], 1)
    old = 0.99 * state["mixture_mean"]
    close(new["mixture_mean"], old + 0.01 * X.mean((0, 1)))
    old = 0.99 * state["mixture_variance"]
    close(new["mixture_variance"], old + 0.01 * X.var((0, 1)))
    y, _ = run(name, X, config, state, training=False)
    root = np.sqrt(state["mixture_variance"] + 1e-3)
    close(y, (X - state["mixture_mean"]) / root)


def test_mixture_of_the_same_components():
    name, config = "MixtureNormalization", {"num_components": 3}
    same = np.stack([X.mean((0, 1))] * 3)
    y, new = run(name, X, {**config, "centres": same})
    close(y, np.sqrt(3) * batch(X, 1e-3))
    assert new["initialized"] == 1
    close(new["mixture_variance"], np.stack([X.var((0, 1))] * 3))
    y, _ = run(name, X, config, new, training=False)
    close(y, np.sqrt(3) * batch(X, 1e-3))


def test_mixture_finds_clusters():
    """Far apart, each is normalized on its own, times 1 / sqrt(share)."""
    name, config = "MixtureNormalization", {"num_components": 2}
    few, many = random(2, 10, 4, seed=1), random(6, 10, 4, seed=2, shift=40)
    x = np.concatenate([few, many])
    centres = np.stack([few[0, 0], many[0, 0]])
    y, new = run(name, x, {**config, "centres": centres})
    close(new["mixture_weight"], [0.25, 0.75])
    close(y[:2], batch(few, 1e-3) * 2)
    close(y[2:], batch(many, 1e-3) / np.sqrt(0.75))


# Domains ---------------------------------------------------------------------

LABELS = np.array([0, 2, 0, 2, 2, 0])


def test_domain_specific():
    name = "DomainSpecificBatchNormalization"
    y, new = run(name, [X, np.array(0)], {"num_domains": 1})
    close(y, batch(X))
    config = {"num_domains": 3}
    w = some_weights(name, config, X.shape)
    y, new = run(name, [X, LABELS], config, w=w)
    for d in (0, 2):
        mine = LABELS == d
        expected = batch(X[mine]) * w["gamma"][d] + w["beta"][d]
        close(y[mine], expected)
        close(new["moving_mean"][d], 0.1 * X[mine].mean((0, 1)))
    assert np.all(new["moving_mean"][1] == 0)
    assert np.all(new["moving_variance"][1] == 1)
    soft = 2.0 * np.eye(3)[LABELS]
    close(run(name, [X, soft], config, w=w)[0], y)
    # The last domain, unless told otherwise.
    y, _ = run(name, [X, np.array(2)], config, new, training=False, w=w)
    close(run(name, X, config, new, training=False, w=w)[0], y)
    half = np.array([0.5, 0.0, 0.5])
    y, _ = run(name, [X, half], config, new, training=False, w=w)
    used = {k: v[[0, 2]].mean(0) for k, v in {**new, **w}.items()}
    root = np.sqrt(used["moving_variance"] + 1e-5)
    z = (X - used["moving_mean"]) / root
    close(y, z * used["gamma"] + used["beta"])


def test_domain_alignment():
    name = "DomainAlignmentNormalization"
    y, _ = run(name, X)
    close(y, np.concatenate([batch(X[:3]), batch(X[3:])]))
    y, new = run(name, X, w={"alpha": np.array(0.5)})
    close(y, batch(X))
    close(new["moving_mean"], 0.001 * np.stack([X.mean((0, 1))] * 2))
    alpha = {"alpha": np.array(0.8)}
    y, new = run(name, X, {"momentum": 0.0}, w=alpha)
    mean = 0.8 * X[3:].mean((0, 1)) + 0.2 * X[:3].mean((0, 1))
    near, far = (((x - mean) ** 2).mean((0, 1)) for x in (X[3:], X[:3]))
    variance = 0.8 * near + 0.2 * far
    close(y[3:], (X[3:] - mean) / np.sqrt(variance + 1e-5))
    z, _ = run(name, X[3:], {}, new, training=False, w=alpha)
    close(z, y[3:])
    source = {"inference_domain": 0}
    z, _ = run(name, X[:3], source, new, training=False, w=alpha)
    close(z, y[:3])
    labels = np.array([1, 1, 1, 0, 0, 0])
    turned = np.concatenate([X[3:], X[:3]])
    z, _ = run(name, [turned, labels], w=alpha)
    close(z, np.concatenate([y[3:], y[:3]]))
    # One of them alone.
    y, new = run(name, [X, np.array(1)], w=alpha)
    close(y, batch(X))
    assert np.all(new["moving_mean"][0] == 0)


def test_transferable():
    name = "TransferableNormalization"
    twice = np.concatenate([X, X])
    close(run(name, twice)[0], 2 * batch(twice))
    # A channel that differs more counts less.
    shifted = twice.copy()
    shifted[6:, :, 0] += 5
    y, _ = run(name, shifted)
    ratio = y / np.concatenate([batch(shifted[:6]), batch(shifted[6:])])
    assert np.all(ratio[..., 0] < 2) and np.all(ratio[..., 1:] > 2)
    close(np.sum(ratio[0, 0] - 1), 4)
    y, _ = run(name, [X, np.array(0)])
    close(y, 2 * batch(X))


def test_domain_specific_optimized():
    name, other = (
        f"DomainSpecific{kind}Normalization" for kind in ("Optimized", "Batch")
    )
    config = {"num_domains": 3}
    plain = {**config, "unbiased": False}
    of_batch = CERTAIN * np.array([[0.0, 1.0]] * 3)
    w = {"mean_weight": of_batch, "variance_weight": of_batch}
    y, new = run(name, [X, LABELS], plain, w=w)
    expected, wanted = run(other, [X, LABELS], config)
    close(y, expected)
    for key, value in wanted.items():
        close(new[key], value)
    swapped = {key: value[:, ::-1] for key, value in w.items()}
    close(run(name, [X, LABELS], config, w=swapped)[0], instance(X, True))
    # Two domains as two switchable normalizations.
    two = ("instance", "batch")
    logits = random(3, 2, seed=4), random(3, 2, seed=5)
    w = {"mean_weight": logits[0], "variance_weight": logits[1]}
    y, _ = run(name, [X, LABELS], config, w=w)
    for d in (0, 2):
        own = {key: value[d] for key, value in w.items()}
        mine = X[LABELS == d]
        z, _ = run("SwitchableNormalization", mine, {"normalizers": two}, w=own)
        close(y[LABELS == d], z)
    channelwise = {key: np.stack([v] * 4, -1) for key, v in w.items()}
    z, _ = run(
        name, [X, LABELS], {**config, "channelwise": True}, w=channelwise
    )
    close(z, y)
    z, _ = run(name, [X[:, 0], LABELS], config)
    layerless = {"normalizers": ("batch",)}
    own, _ = run("SwitchableNormalization", X[LABELS == 0, 0], layerless)
    close(z[LABELS == 0], own)


def test_covariance():
    x, adapter = random(40, 3, 4), random(4, 4, seed=1)
    w = fitted_covariance_normalization(x, x @ adapter, adapter, 1.0)
    name = "CovarianceNormalization"
    close(run(name, x, w=w)[0], x @ adapter)
    flat = (x - x.mean((0, 1))).reshape(-1, 4) @ w["whitening"]
    close(flat.T @ flat / len(flat), np.eye(4))
    small = fitted_covariance_normalization(x, x @ adapter, adapter, 0.9)
    assert 1 <= small["kernel"].shape[1] < 4
    assert small["coloring"].shape == (small["kernel"].shape[1], 4)


# Gradients, layout, masks -----------------------------------------------------

CONFIGS = {
    "BatchChannelNormalization": {"groups": 2},
    "DomainSpecificBatchNormalization": {"num_domains": 3},
    "DomainSpecificOptimizedNormalization": {"num_domains": 3},
}
CASES = [
    (name, CONFIGS.get(name, {}))
    for name in mixture_shapes.NAMES
    if name != "CovarianceNormalization"
]
BY_DOMAIN = [name for name, _ in CASES if name in mixture_shapes.OF_DOMAINS]


def some_weights(name, config, shape, seed=1):
    shapes = weight_shapes(name, config, [shape])
    return {
        key: 0.3 + 0.1 * random(*size, seed=seed + i)
        for i, (key, size) in enumerate(shapes.items())
    }


def some_state(name, config, shape, seed=11):
    state = initial_state(name, config, shape)
    for i, (key, value) in enumerate(state.items()):
        if key.endswith(("mean", "variance")):
            state[key] = value + 0.3 * random(*value.shape, seed=seed + i) ** 2
        if key == "initialized":
            state[key] = np.array(1.0)
    return state


def given(name, x):
    """With what else a call takes, for the samples of x."""
    if name == "AdaptiveLayerInstanceNormalization":
        return [x, *random(2, len(x), x.shape[-1], seed=4)]
    if name in BY_DOMAIN:
        return [x, np.arange(len(x)) % 2]
    return [x]


def case_id(value):
    return value if isinstance(value, str) else "-".join(value)


@pytest.mark.parametrize("name, config", CASES, ids=case_id)
def test_channels_first(name, config):
    w, before = (f(name, config, X.shape) for f in (some_weights, some_state))
    y, state = run(name, given(name, X), config, before, w=w)
    assert np.all(np.isfinite(y))
    assert state.keys() == before.keys()
    evaluated, kept = run(name, given(name, X), config, state, False, w=w)
    assert np.all(np.isfinite(evaluated))
    for key, value in state.items():
        np.testing.assert_array_equal(kept[key], value)
    _, *others = given(name, X)
    first, x = {**config, "axis": 1}, np.moveaxis(X, -1, 1)
    moved, moved_state = run(name, [x, *others], first, before, w=w)
    close(np.moveaxis(moved, 1, -1), y)
    for key, value in state.items():
        close(moved_state[key], value)
    if name in GRADIENTS:
        (dx, *_), found = gradient(name, [X, *others], DY, config, before, w=w)
        (moved, *_), other = gradient(
            name, [x, *others], np.moveaxis(DY, -1, 1), first, before, w=w
        )
        close(np.moveaxis(moved, 1, -1), dx)
        assert found.keys() == w.keys()
        for key, value in found.items():
            close(other[key], value)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("by_sample", [False, True])
@pytest.mark.parametrize("name, config", CASES, ids=case_id)
def test_mask_equals_cut_out(name, config, by_sample, training):
    x = X[:4]
    w, before = (f(name, config, x.shape) for f in (some_weights, some_state))
    inputs = given(name, x)
    kept = np.s_[:2] if by_sample else np.s_[:, :3]
    mask = np.zeros(x.shape[:2], bool)
    mask[kept] = True
    inputs[0] = np.where(mask[..., None], x, np.nan)
    cut = [x[kept], *inputs[1:]]
    if by_sample:
        mask, cut = mask[:, 0], [x[kept], *(a[:2] for a in inputs[1:])]
    y, state = run(name, inputs, config, before, training, mask, w)
    expected, wanted = run(name, cut, config, before, training, w=w)
    close(y[kept], expected)
    for key, value in state.items():
        close(value, wanted[key])


# A sample is a unit for its own sake here, or counts differently.
BY_SAMPLES = ("Switchable", "Task", "Optimized")
REPEATED = [c for c in CASES if not any(part in c[0] for part in BY_SAMPLES)]


@pytest.mark.parametrize("name, config", REPEATED, ids=case_id)
def test_integer_weights_repeat_samples(name, config):
    x, repeats = X[:4], np.array([1, 3, 2, 1])
    w, before = (f(name, config, x.shape) for f in (some_weights, some_state))
    inputs = given(name, x)
    y, state = run(name, inputs, config, before, True, repeats.astype(float), w)
    several = [np.repeat(a, repeats, 0) for a in inputs]
    expected, wanted = run(name, several, config, before, w=w)
    close(np.repeat(y, repeats, 0), expected)
    for key, value in state.items():
        close(value, wanted[key])


@pytest.mark.parametrize("name, config", CASES, ids=case_id)
def test_nothing_seen_keeps_the_state(name, config):
    w, before = (f(name, config, X.shape) for f in (some_weights, some_state))
    none = np.zeros(6, bool)
    _, state = run(name, given(name, X), config, before, True, none, w)
    assert state.keys() == before.keys()
    for key, value in before.items():
        np.testing.assert_array_equal(state[key], value)


DERIVATIVES = [
    ("DynamicNormalization", {"hard": False}),
    ("BatchChannelNormalization", {"groups": 2}),
    ("BatchChannelNormalization", {"groups": 2, "channel_affine": "channel"}),
    ("TransferableNormalization", {}),
    ("MixtureNormalization", {"num_components": 1}),
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name, config", DERIVATIVES, ids=case_id)
def test_gradient_is_the_derivative(name, config, masked):
    """Where nothing is held constant, or it is constant anyway."""
    w, before = (f(name, config, X.shape) for f in (some_weights, some_state))
    mask, dy = None, DY
    if masked:
        mask = random(6, 5, seed=3) > 0
        dy = DY * mask[..., None]
    inputs = given(name, X)
    (dx, *_), found = gradient(name, inputs, dy, config, before, mask, w)
    along = {key: random(*value.shape, seed=8) for key, value in w.items()}
    in_x = random(*X.shape, seed=7)
    frozen = None
    if name == "TransferableNormalization":
        # y / (1 + alpha) with the alpha of the start.
        frozen, _ = run(name, inputs, config, before, mask=mask)

    def total(t):
        moved = {key: w[key] + t * along[key] for key in w}
        at = [X + t * in_x, *inputs[1:]]
        y, _ = run(name, at, config, before, mask=mask, w=moved)
        if frozen is not None:
            y = y / one_plus_alpha(at, mask) * one_plus_alpha(inputs, mask)
        return np.sum(np.where(dy == 0, 0, dy * y))

    expected = slope(total, 0.0, 1.0)
    terms = np.sum(dx * in_x) + sum(np.sum(found[k] * along[k]) for k in w)
    close(terms, expected, rtol=1e-6, atol=1e-6)


def one_plus_alpha(inputs, mask):
    """y of beta = 1 and gamma = 0."""
    w = {"gamma": np.zeros(4), "beta": np.ones(4)}
    y, _ = run("TransferableNormalization", inputs, mask=mask, w=w)
    return y


def test_estimated_statistics_are_constants():
    name = "BatchChannelNormalization"
    config = {"groups": 2, "estimate": True}
    w = some_weights(name, config, X.shape)
    (dx,), _ = gradient(name, X, DY, config, STATE, w=w)
    _, new = run(name, X, config, STATE, w=w)
    along = random(*X.shape, seed=7)

    def total(x):
        return np.sum(DY * run(name, x, config, new, training=False, w=w)[0])

    close(np.sum(dx * along), slope(total, X, along), rtol=1e-6)


def test_responsibilities_are_constants():
    """Against moments weighted by constants."""
    name, config = "MixtureNormalization", {"num_components": 2}
    # Far apart: tau is 0 or 1, and its derivative 0.
    x = X.copy()
    x[3:] += 40
    centres = np.stack([x[0, 0], x[3, 0]])
    config["centres"] = centres
    (dx,), _ = gradient(name, x, DY, config)
    along = random(*X.shape, seed=7)

    def total(x):
        halves = np.concatenate([batch(x[:3], 1e-3), batch(x[3:], 1e-3)])
        return np.sum(DY * halves * np.sqrt(2))

    close(np.sum(dx * along), slope(total, x, along), rtol=1e-6)


@pytest.mark.parametrize("gates", [(0, 1, 0), (1, 0, 1), (0, 0, 1)])
def test_gradient_of_hard_gates(gates):
    """That of soft gates of the same values, as if they were weights."""
    name = "DynamicNormalization"
    hard = 0.7 * (2.0 * np.array(gates) - 1)
    w = {"channel_gates": hard[:2], "batch_gate": hard[2]}
    (dx,), found = gradient(name, X, DY, w=w)
    # A soft gate of almost the same value: da = g (1 - g) dg.
    soft = np.array([14.0 if g else -14.0 for g in gates])
    near = {"channel_gates": soft[:2], "batch_gate": soft[2]}
    (other,), slopes = gradient(name, X, DY, {"hard": False}, w=near)
    close(dx, other, rtol=1e-3, atol=1e-3)
    rate = opened(soft, False) * (1 - opened(soft, False))
    wanted = np.append(slopes["channel_gates"], slopes["batch_gate"]) / rate
    got = np.append(found["channel_gates"], found["batch_gate"])
    close(got, wanted, rtol=1e-3, atol=1e-3)


def test_weights_of_domains_have_a_gradient():
    name, inputs = "TransferableNormalization", [X, random(6, 2, seed=4) ** 2]
    (_, of_domain), _ = gradient(name, inputs, DY)
    along = random(6, 2, seed=7)

    def total(domain):
        y, _ = run(name, [X, domain])
        y = y / one_plus_alpha([X, domain], None)
        return np.sum(DY * y * one_plus_alpha(inputs, None))

    expected = slope(total, inputs[1], along)
    close(np.sum(of_domain * along), expected, rtol=1e-5)
