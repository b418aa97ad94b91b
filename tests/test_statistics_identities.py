"""The reference implementations of chapter statistics, among themselves.

Closed forms, masks against cut-out data, and gradients that are derivatives
of a formula against central differences. NumPy only.
"""

import numpy as np
import pytest

from oracles import GRADIENTS
from oracles import initial_state
from oracles import statistics_shapes
from oracles import weight_shapes
from oracles.calls import gradient
from oracles.calls import random
from oracles.calls import run
from oracles.calls import slope
from oracles.common import bessel

pytestmark = pytest.mark.once


def close(a, b, rtol=1e-10, atol=1e-10):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def batch(x, epsilon=1e-5):
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + epsilon)


def batch_gradient(x, dy, epsilon=1e-5):
    """dx = (dy - E[dy] - z E[dy z]) / sqrt(var + eps)."""
    axes = tuple(range(x.ndim - 1))
    z = batch(x, epsilon)
    inner = dy - dy.mean(axes) - z * (dy * z).mean(axes)
    return inner / np.sqrt(x.var(axes) + epsilon)


X = random(6, 5, 4)
DY = random(6, 5, 4, seed=9)

# Batch normalization is a case of many ----------------------------------------

UNCORRECTED = {"rmax": 1.0, "dmax": 0.0}
AS_BATCH = [
    ("GhostBatchNormalization", {"virtual_batch_size": 6}),
    ("GhostBatchNormalization", {"virtual_batch_size": 9}),
    ("BatchRenormalization", UNCORRECTED),
    ("FullNormalization", {"momentum": 0.0}),
    ("FullNormalization", {}),
    ("MomentumBatchNormalization", {}),
    ("MemorizedBatchNormalization", {"memory_size": 1}),
    ("MemorizedBatchNormalization", {}),
    ("KalmanNormalization", {}),
    ("StochasticBatchNormalization", {}),
    ("SwitchableBatchNormalization", {"widths": (2, 4)}),
    ("FineGrainedBatchNormalization", {"groups": 1}),
    (
        "CrossIterationBatchNormalization",
        {"window_size": 1, "epsilon_placement": "inside"},
    ),
    ("CrossIterationBatchNormalization", {"epsilon_placement": "inside"}),
]


def case_id(value):
    return value if isinstance(value, str) else "-".join(value)


@pytest.mark.parametrize("name, config", AS_BATCH, ids=case_id)
def test_first_step_is_batch(name, config):
    y, _ = run(name, X, config)
    close(y, batch(X))
    if name in GRADIENTS:
        (dx, *_), _ = gradient(name, X, DY, config)
        close(dx, batch_gradient(X, DY))


def test_kalman_identities():
    inputs = [X, random(4, seed=2), 0.5 + random(4, seed=3) ** 2]
    name = "KalmanNormalization"
    close(run(name, inputs, {"keep": 0.0})[0], batch(X))
    close(run(name, inputs, {"max_ratio": 0.0})[0], batch(X))
    y, _ = run(name, inputs, {"keep": 1.0})
    close(y, (X - inputs[1]) / np.sqrt(inputs[2] + 1e-5))
    found, _ = gradient(name, inputs, DY, {"max_ratio": 0.0})
    close(found[0], batch_gradient(X, DY))
    close(np.array(found[1:]), 0.0)


def test_ghosts():
    name, config = "GhostBatchNormalization", {"virtual_batch_size": 4}
    y, new = run(name, X, config)
    close(y, np.concatenate([batch(X[:4]), batch(X[4:])]))
    means = [X[:4].mean((0, 1)), X[4:].mean((0, 1))]
    variances = [X[:4].var((0, 1)), X[4:].var((0, 1))]
    # s <- m^L s + (1 - m) sum m^(L - 1 - l) stat_l.
    close(new["moving_mean"], 0.1 * (0.9 * means[0] + means[1]))
    rest = 0.1 * (0.9 * variances[0] + variances[1])
    close(new["moving_variance"], 0.81 + rest)
    _, new = run(name, X, {**config, "update": "mean"})
    close(new["moving_mean"], 0.1 * X.mean((0, 1)))
    average = (4 * variances[0] + 2 * variances[1]) / 6
    close(new["moving_variance"], 0.9 + 0.1 * average)
    y, _ = run(name, X, {"virtual_batch_size": 1})
    close(y, np.concatenate([batch(X[i : i + 1]) for i in range(6)]))


def test_renormalization_without_clipping_is_inference():
    name, config = "BatchRenormalization", {"rmax": np.inf, "dmax": np.inf}
    mean, stddev = random(4, seed=2), 0.5 + random(4, seed=3) ** 2
    state = {"moving_mean": mean, "moving_stddev": stddev}
    y, _ = run(name, X, config, state)
    close(y, run(name, X, config, state, training=False)[0])
    close(y, (X - mean) / stddev)
    # r of the gradient of batch normalization.
    (dx,), _ = gradient(name, X, DY, config, state)
    r = np.sqrt(X.var((0, 1)) + 1e-5) / stddev
    close(dx, batch_gradient(X, DY * r))


def test_full_normalization_is_of_population_moments():
    name, config = "FullNormalization", {"momentum": None, "power": 1.0}
    steps = [random(6, 5, 4, seed=i, shift=i) for i in range(3)]
    state = {}
    for x in steps:
        before = state
        y, state = run(name, x, config, state)
    every = np.stack(steps)
    close(state["moving_mean"], every.mean((0, 1, 2)))
    close(state["moving_variance"], every.var((0, 1, 2)))
    root = np.sqrt(state["moving_variance"] + 1e-5)
    close(y, (x - state["moving_mean"]) / root)
    # The derivative where the moments of the batch are moved to e.
    (dx,), _ = gradient(name, x, DY, config, before)
    first, second = x.mean((0, 1)), (x**2).mean((0, 1))
    to_first = state["moving_mean"] - first
    to_second = state["moving_variance"] + state["moving_mean"] ** 2 - second

    def total(x):
        e1 = x.mean((0, 1)) + to_first
        e2 = (x**2).mean((0, 1)) + to_second
        return np.sum(DY * (x - e1) / np.sqrt(e2 - e1**2 + 1e-5))

    direction = random(*x.shape, seed=4)
    close(np.sum(dx * direction), slope(total, x, direction), rtol=1e-6)


def test_online_sees_only_earlier_samples():
    name, config = "OnlineNormalization", {"alpha_forward": 0.8}
    y, _ = run(name, X, config)
    other = X.copy()
    other[3] += 1
    moved, _ = run(name, other, config)
    close(moved[:3], y[:3])
    assert np.all(moved[4:] != y[4:])
    one = {"error_compensation": None}
    mean, variance = random(4, seed=2), 0.5 + random(4, seed=3) ** 2
    state = {"moving_mean": mean, "moving_variance": variance}
    y, _ = run(name, X[:1], one, state)
    close(y, (X[:1] - mean) / np.sqrt(variance + 1e-5))
    close(y, run(name, X[:1], one, state, training=False)[0])


def test_online_closed_forms():
    """M_i = a^i m + (1 - a) sum_{j<i} a^(i-1-j) mu_j; c is a recurrence."""
    a, b = 0.8, 0.9
    config = {"alpha_forward": a, "alpha_backward": b}
    config["error_compensation"] = None
    name = "OnlineNormalization"
    y, new = run(name, X, config)
    n = len(X)
    powers = a ** np.arange(n - 1, -1, -1)[:, None]
    close(new["moving_mean"], (1 - a) * np.sum(powers * X.mean(1), 0))
    (dx,), found = gradient(name, X, DY, config)
    c = np.zeros(4)
    for i in range(n):
        c = c * (1 - (1 - b) * np.mean(y[i] ** 2, 0)) + np.mean(DY[i] * y[i], 0)
    close(found["output_control"], c)
    # All that was sent back so far, decayed.
    close(found["mean_control"], np.sum(dx.mean(1), 0))


def test_online_clamp():
    config = {"error_compensation": "clamp", "clamp_value": 0.5}
    y, _ = run("OnlineNormalization", X, config)
    z, _ = run("OnlineNormalization", X, {"error_compensation": None})
    close(y, np.clip(z, -0.5, 0.5))
    w = {"beta": np.zeros(4)}
    _, found = gradient("OnlineNormalization", X, DY, config, w=w)
    close(found["beta"], np.sum(DY * (np.abs(z) < 0.5), (0, 1)))


def test_power_identities():
    name, config = "PowerNormalization", {"group_scaling": False}
    root = np.sqrt((X**2).mean((0, 1)) + 1e-5)
    y, new = run(name, X, config)
    close(y, X / root)
    # The first step: phi = psi, whatever the averages.
    close(new["moving_second_moment"], (X**2).mean((0, 1)))
    (dx,), found = gradient(name, X, DY, config)
    close(dx, DY / root)
    close(found["mean_product"], np.mean(DY * X / root, (0, 1)))
    late = {**config, "warmup_steps": 0}
    state = {"moving_second_moment": np.full(4, 2.0)}
    close(run(name, X, late, state)[0], X / np.sqrt(2 + 1e-5))
    y, _ = run(name, X, {"groups": 2, "warmup_steps": 0, "epsilon": 0.0})
    grouped = y.reshape(6, 5, 2, 2)
    close((grouped**2).mean(-1), 1, rtol=1e-3)


def test_moving_average_of_one_step_is_the_derivative():
    name = "MovingAverageBatchNormalization"
    config = {"buffer_size": 1}
    root = np.sqrt((X**2).mean((0, 1)) + 1e-5)
    close(run(name, X, config)[0], X / root)
    state = {"step": 500}
    close(run(name, X, config, state)[0], X / root)
    (dx,), _ = gradient(name, X, DY, config, state)
    z = X / root
    close(dx, (DY - z * (DY * z).mean((0, 1))) / root)


def test_moving_average_renormalizes_late():
    name, config = "MovingAverageBatchNormalization", {"buffer_size": 1}
    root = np.sqrt((X**2).mean((0, 1)) + 1e-5)
    for moving, r in ((4.0, root / np.sqrt(4 + 1e-5)), (1e9, 0.2), (0.0, 5.0)):
        state = {"moving_second_moment": np.full(4, moving)}
        y, _ = run(name, X, config, {**state, "step": 1000})
        close(y, X / root * r)
        y, _ = run(name, X, config, {**state, "step": 999})
        close(y, X / root)


def test_cross_iteration_with_the_same_kernel_averages():
    name = "CrossIterationDense"
    config = {"units": 3, "window_size": 3, "use_bias": True}
    config["epsilon"] = 0.0
    w = {"kernel": random(4, 3, seed=5), "bias": random(3, seed=6)}
    state, steps = {}, [random(6, 4, seed=i) for i in range(4)]
    for x in steps:
        y, state = run(name, x, config, state, w=w)
    h = np.concatenate(steps[1:]) @ w["kernel"] + w["bias"]
    own = steps[-1] @ w["kernel"] + w["bias"]
    close(y, (own - h.mean(0)) / h.std(0))


def test_cross_iteration_means_are_exact_for_the_same_inputs():
    """The mean is linear in the kernel; here nothing was seen to vary."""
    name, config = "CrossIterationDense", {"units": 3, "window_size": 2}
    config["use_bias"] = True
    x = random(6, 4)
    w = {"kernel": random(4, 3, seed=5), "bias": random(3, seed=6)}
    _, state = run(name, x, config, w=w)
    moved = {k: v + 1e-3 for k, v in w.items()}
    y, _ = run(name, x, config, state, w=moved)
    close(y.mean(0), 0.0)
    h = x @ moved["kernel"] + moved["bias"]
    np.testing.assert_allclose(y, batch(h, 0.0), atol=2e-5)


def test_cross_iteration_burn_in():
    name, config = "CrossIterationDense", {"units": 3, "burn_in": 1}
    config["epsilon"] = 0.0
    x, w = random(6, 4), {"kernel": random(4, 3, seed=5), "bias": np.zeros(3)}
    y, state = run(name, x, config, w=w)
    h = x @ w["kernel"]
    close(y, batch(h, 0.0) / np.sqrt(bessel(6)))
    assert state["count"] == 0
    y, state = run(name, x, config, state, w=w)
    close(y, batch(h, 0.0))
    assert state["count"] == 1


def test_memory():
    name, config = "MemorizedBatchNormalization", {"memory_size": 3}
    steps = [random(6, 5, 4, seed=i, shift=i) for i in range(4)]
    state = {}
    for x in steps:
        y, state = run(name, x, config, state)
    share = np.array([0.9**2, 0.9, 1.0]) / (0.9**2 + 0.9 + 1)
    mean = np.average([x.mean((0, 1)) for x in steps[1:]], 0, share)
    square = np.average([(x**2).mean((0, 1)) for x in steps[1:]], 0, share)
    close(y, (x - mean) / np.sqrt(square - mean**2 + 1e-5))
    assert state["count"] == 3
    close(run(name, x, config, state, training=False)[0], y)


def test_momentum_mixes_before_it_normalizes():
    name = "MomentumBatchNormalization"
    state = {"training_momentum": 0.25, "moving_momentum": 0.5}
    y, new = run(name, X, {}, state)
    mean, variance = 0.75 * X.mean((0, 1)), 0.25 + 0.75 * X.var((0, 1))
    close(y, (X - mean) / np.sqrt(variance + 1e-5))
    close(new["training_variance"], variance)
    close(new["moving_variance"], 0.5 + 0.5 * X.var((0, 1)))


def test_frozen_and_switchable():
    frozen = {
        "moving_mean": random(4, seed=2),
        "moving_variance": 0.5 + random(4, seed=3) ** 2,
        "gamma": random(4, seed=4),
        "beta": random(4, seed=5),
    }
    z = (X - frozen["moving_mean"]) / np.sqrt(frozen["moving_variance"] + 1e-5)
    for training in (True, False):
        y, new = run("FrozenBatchNormalization", X, {}, frozen, training)
        close(y, z * frozen["gamma"] + frozen["beta"])
        assert all(np.all(new[key] == frozen[key]) for key in frozen)
    name, config = "SwitchableBatchNormalization", {"widths": (2, 4)}
    config["shared_affine"] = True
    y, new = run(name, X[..., :2], config, initial_state(name, config, (4, 4)))
    close(y, batch(X[..., :2]))
    close(new["moving_mean"][0, :2], 0.1 * X[..., :2].mean((0, 1)))
    close(new["moving_mean"][1], 0.0)


def test_fine_grained_is_a_sum():
    name, config = "FineGrainedBatchNormalization", {"groups": 2}
    y, new = run(name, X, config)
    z = batch(X)
    close(y, z[..., :2] + z[..., 2:])
    assert new["moving_mean"].shape == (4,)
    # Unfused and fused in inference.
    name = "FineGrainedConv2D"
    config = {"filters": 3, "kernel_size": 2, "groups": 2}
    x, kernel = random(3, 4, 4, 4), random(2, 2, 2, 6, seed=5)
    w = {"kernel": kernel, "gamma": random(6, seed=6), "beta": random(3)}
    state = {"moving_mean": random(6, seed=7), "moving_variance": np.full(6, 2)}
    y, _ = run(name, x, config, state, training=False, w=w)
    rate = w["gamma"] / np.sqrt(2 + 1e-5)
    whole = np.concatenate(np.split(kernel * rate, 2, axis=-1), axis=2)
    offset = w["beta"] - np.sum((state["moving_mean"] * rate).reshape(2, 3), 0)
    expected = offset + sum(
        x[:, i : i + 3, j : j + 3] @ whole[i, j] for i, j in np.ndindex(2, 2)
    )
    close(y, expected)


# Gradients, layout, masks -----------------------------------------------------

CONFIGS = {
    "GhostBatchNormalization": {"virtual_batch_size": 4},
    "SwitchableBatchNormalization": {"widths": (4,)},
    "StochasticBatchNormalization": {"inference": "moving"},
    "FineGrainedBatchNormalization": {"groups": 2},
    "CrossIterationDense": {"units": 3, "use_bias": True},
}
CASES = [
    (name, CONFIGS.get(name, {}))
    for name in statistics_shapes.NAMES
    if "Conv" not in name
]
DERIVATIVES = [
    ("MomentumBatchNormalization", {}),
    ("MemorizedBatchNormalization", {"memory_size": 3}),
    ("KalmanNormalization", {"learn_keep": True}),
    ("PowerNormalization", {"backward": "exact", "groups": 2}),
    ("PowerNormalization", {"backward": "exact", "warmup_steps": 0}),
    ("MovingAverageBatchNormalization", {"buffer_size": 1}),
    ("CrossIterationBatchNormalization", {}),
    ("CrossIterationBatchNormalization", {"burn_in": 9}),
]


def some_weights(name, config, shape, seed=1):
    shapes = weight_shapes(name, config, [shape])
    return {
        key: 0.3 + 0.1 * random(*size, seed=seed + i)
        for i, (key, size) in enumerate(shapes.items())
    }


def after_two_steps(name, config, w):
    state = {"training_momentum": 0.3} if "Momentum" in name else {}
    for i in range(2):
        _, state = run(name, random(6, 5, 4, seed=20 + i), config, state, w=w)
    return state


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name, config", DERIVATIVES, ids=case_id)
def test_gradient_is_the_derivative(name, config, masked):
    x, shape = random(6, 5, 4), (6, 5, 4)
    w = some_weights(name, config, shape)
    state = after_two_steps(name, config, w)
    if "MovingAverage" in name:
        state["moving_second_moment"][:] = 1.0
    mask, dy = None, DY
    if masked:
        mask = random(6, 5, seed=3) > 0
        dy = DY * mask[..., None]
    inputs = [x]
    if name == "KalmanNormalization":
        inputs += [random(4, seed=2), 1 + random(4, seed=3) ** 2]
    found, of_weights = gradient(name, inputs, dy, config, state, mask, w)
    along = [random(*a.shape, seed=5 + i) for i, a in enumerate(inputs)]
    moving = [key for key in ("gamma", "beta", "keep") if key in w]
    weights_along = {key: random(*w[key].shape, seed=8) for key in moving}

    def total(t):
        y, _ = run(
            name,
            [a + t * b for a, b in zip(inputs, along, strict=True)],
            config,
            state,
            mask=mask,
            w={**w, **{k: w[k] + t * v for k, v in weights_along.items()}},
        )
        return np.sum(dy * y)

    expected = slope(total, 0.0, 1.0)
    terms = [np.sum(a * b) for a, b in zip(found, along, strict=True)]
    terms += [np.sum(of_weights[k] * v) for k, v in weights_along.items()]
    close(sum(terms), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name, config", CASES, ids=case_id)
def test_channels_first(name, config):
    w = some_weights(name, config, X.shape)
    y, state = run(name, X, config, w=w)
    assert state.keys() == initial_state(name, config, X.shape).keys()
    _, kept = run(name, X, config, state, training=False, w=w)
    for key, value in state.items():
        np.testing.assert_array_equal(kept[key], value)
    if name == "CrossIterationDense":
        return
    first, x = {**config, "axis": 1}, np.moveaxis(X, -1, 1)
    moved, moved_state = run(name, x, first, w=w)
    close(np.moveaxis(moved, 1, -1), y)
    for key, value in state.items():
        close(moved_state[key], value)
    if name in GRADIENTS:
        (dx, *_), found = gradient(name, X, DY, config, w=w)
        upstream = np.moveaxis(DY, -1, 1)
        (moved, *_), other = gradient(name, x, upstream, first, w=w)
        close(np.moveaxis(moved, 1, -1), dx)
        for key, value in found.items():
            close(other[key], value)


# Online normalization takes no mask, frozen statistics need none.
MASKED = [
    case for case in CASES if not case[0].startswith(("Online", "Frozen"))
]


@pytest.mark.parametrize("name, config", MASKED, ids=case_id)
def test_mask_equals_cut_out(name, config):
    x, dy = random(4, 6, 4), random(4, 6, 4, seed=2)
    if name == "CrossIterationDense":
        dy = dy[..., :3]
    mask = np.arange(6) < 4
    mask = np.broadcast_to(mask, (4, 6))
    w = some_weights(name, config, x.shape)
    expected, expected_state = run(name, x[:, :4], config, w=w)
    padded = np.where(mask[..., None], x, np.nan)
    y, state = run(name, padded, config, mask=mask, w=w)
    close(y[:, :4], expected)
    for key, value in state.items():
        close(value, expected_state[key])
    if name not in GRADIENTS or name == "PowerNormalization":
        return  # power normalization's mean product counts masked positions
    dy = dy * mask[..., None]
    padded = np.where(mask[..., None], x, 7.0)
    (dx, *_), found = gradient(name, padded, dy, config, mask=mask, w=w)
    (cut, *_), wanted = gradient(name, x[:, :4], dy[:, :4], config, w=w)
    close(dx[:, :4], cut)
    for key, value in found.items():
        close(value, wanted[key])


@pytest.mark.parametrize("name, config", MASKED, ids=case_id)
def test_nothing_seen_keeps_the_state(name, config):
    w = some_weights(name, config, X.shape)
    _, state = run(name, X, config, w=w)
    _, kept = run(name, X, config, state, mask=np.zeros(6, bool), w=w)
    for key, value in state.items():
        np.testing.assert_array_equal(kept[key], value)
