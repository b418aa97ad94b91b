"""The reference implementations, against each other and golden vectors.

NumPy only: identities between methods that hold by the formulas, masks
against cut-out data, and what the authors' own programs compute.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from oracles import ORACLES
from oracles import initial_state
from oracles import mixture_shapes
from oracles import recovery_shapes
from oracles import statistics_shapes
from oracles import weight_shapes
from oracles.operation import deviation_and_center
from oracles.operation import gaussian_factor
from oracles.operation import lp_deviation
from oracles.operation import range_deviation
from oracles.whitening import newton_inverse_root
from oracles.window import local_context_moments

pytestmark = pytest.mark.once

DATA = Path(__file__).parent / "golden" / "data"


def random(*shape, seed=0, shift=0.5):
    return np.random.default_rng(seed).normal(shift, 1.5, shape)


def run(name, x, config=None, weights=None, state=None, **kwargs):
    """The output alone; training unless told otherwise."""
    inputs = list(x) if isinstance(x, list | tuple) else [x]
    training = kwargs.pop("training", True)
    y, _ = ORACLES[name](
        inputs, config or {}, weights or {}, state or {}, training, **kwargs
    )
    return y


def step(name, x, config=None, state=None, training=True, mask=None):
    """Output and state."""
    return ORACLES[name]([x], config or {}, {}, state or {}, training, mask)


def affine_weights(channels, seed=7):
    gamma, beta = random(2, channels, seed=seed)
    return {"gamma": gamma, "beta": beta}


def close(a, b, rtol=1e-10, atol=1e-10):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


# Identities ------------------------------------------------------------------

SHAPES = [(6, 4), (5, 7, 4), (4, 3, 5, 4), (3, 2, 3, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_group_of_all_channels_is_layer(shape):
    x, w = random(*shape), affine_weights(4)
    axes = tuple(range(1, len(shape)))
    layer = {"axis": axes, "param_axis": -1, "epsilon": 1e-3}
    a = run("GroupNormalization", x, {"groups": 1}, w)
    close(a, run("LayerNormalization", x, layer, w))


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("groups", [4, -1])
def test_group_of_one_channel_is_instance(shape, groups):
    x, w = random(*shape), affine_weights(4)
    a = run("GroupNormalization", x, {"groups": groups, "epsilon": 1e-5}, w)
    close(a, run("InstanceNormalization", x, {}, w))


def test_layer_against_numpy():
    x = random(3, 4, 5)
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    close(run("LayerNormalization", x), (x - mean) / np.sqrt(var + 1e-3))


def test_layer_several_axes_have_a_parameter_for_each_entry():
    x, gamma = random(3, 4, 5), random(4, 5, seed=1)
    plain = run("LayerNormalization", x, {"axis": (1, 2)})
    scaled = run("LayerNormalization", x, {"axis": (1, 2)}, {"gamma": gamma})
    close(scaled, plain * gamma)
    swapped = run("LayerNormalization", x, {"axis": (2, 1)}, {"gamma": gamma.T})
    close(swapped, scaled)


def test_batch_against_numpy():
    x, w = random(5, 3, 4), affine_weights(4)
    xhat = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-3)
    y, new = ORACLES["BatchNormalization"]([x], {}, w, {}, True)
    close(y, xhat * w["gamma"] + w["beta"])
    close(new["moving_mean"], 0.01 * x.mean((0, 1)))
    close(new["moving_variance"], 0.99 + 0.01 * x.var((0, 1)))
    y, kept = ORACLES["BatchNormalization"]([x], {}, w, new, False)
    xhat = (x - new["moving_mean"]) / np.sqrt(new["moving_variance"] + 1e-3)
    close(y, xhat * w["gamma"] + w["beta"])
    assert kept.keys() == new.keys()
    _, new = step("BatchNormalization", x, {"unbiased_moving_variance": True})
    close(new["moving_variance"], 0.99 + 0.01 * x.var((0, 1), ddof=1))


def test_renorm_without_correction_is_batch():
    x = random(6, 3, 4)
    clipping = {"rmax": 1.0, "rmin": 1.0, "dmax": 0.0}
    config = {"renorm": True, "renorm_clipping": clipping}
    close(run("BatchNormalization", x, config), run("BatchNormalization", x))


def test_renorm_without_clipping_uses_the_state_before_the_step():
    x = random(6, 3, 4)
    y, new = step("BatchNormalization", x, {"renorm": True})
    close(y, x)
    deviation = np.sqrt(x.var((0, 1)) + 1e-3)
    for name in ("moving_stddev", "renorm_stddev"):
        close(new[name], 0.99 + 0.01 * deviation)
    close(new["moving_variance"], new["moving_stddev"] ** 2 - 1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_group_identities(shape):
    x, w = random(*shape), affine_weights(4)
    n = shape[0]

    def bgn(groups, batch_groups, **config):
        config = {"groups": groups, "batch_groups": batch_groups, **config}
        return run("BatchGroupNormalization", x, config, w)

    batch = {"epsilon": 1e-5}
    close(bgn(4, 1), run("BatchNormalization", x, batch, w))
    group = {"groups": 2, "epsilon": 1e-5}
    close(bgn(2, n), run("GroupNormalization", x, group, w))
    layer = {"groups": 1, "epsilon": 1e-5}
    close(bgn(1, n), run("GroupNormalization", x, layer, w))
    close(bgn(2, 1, mode="flat"), bgn(2, 1))
    ghost = [
        run("BatchNormalization", part, batch, w)
        for part in (x[: -(-n // 2)], x[-(-n // 2) :])
    ]
    close(bgn(4, 2), np.concatenate(ghost))


def test_batch_group_state_is_weighted_by_entries():
    x = random(5, 3, 4)
    config = {"groups": 2, "batch_groups": 2, "momentum": 0.0}
    _, new = step("BatchGroupNormalization", x, config)
    parts = [x[:3, :, :2], x[3:, :, :2]]
    close(new["moving_mean"][0], x[:, :, :2].mean())
    close(
        new["moving_variance"][0],
        (3 * parts[0].var() + 2 * parts[1].var()) / 5,
    )


def test_batch_group_flat_pieces_may_cut_channels():
    x = random(3, 6, 2)
    config = {"groups": 3, "mode": "flat", "epsilon": 0.0}
    flat = np.moveaxis(x, -1, 1).reshape(3, 3, 4)
    mean = flat.mean((0, 2), keepdims=True)
    var = flat.var((0, 2), keepdims=True)
    expected = ((flat - mean) / np.sqrt(var)).reshape(3, 2, 6)
    y = run("BatchGroupNormalization", x, config)
    close(y, np.moveaxis(expected, 1, -1))


@pytest.mark.parametrize("axis", [-1, 1])
def test_moment_shortcut_undoes_positional(axis):
    x = random(2, 5, 4, 6)
    config = {"axis": axis, "return_moments": True}
    y, mean, std = run("PositionalNormalization", x, config)
    assert mean.shape[axis] == std.shape[axis] == 1
    close(run("MomentShortcut", [y, mean, std]), x)


def test_positional_on_features_is_layer_up_to_bessel():
    x = random(4, 6)
    config = {"epsilon": 0.0}
    a = run("PositionalNormalization", x, config)
    b = run("LayerNormalization", x, config)
    close(a, b * np.sqrt(5 / 6))
    config = {"epsilon": 0.0, "unbiased": False}
    close(run("PositionalNormalization", x, config), b)


@pytest.mark.parametrize("shape", SHAPES)
def test_composed_gives_the_named_layers(shape):
    x, w = random(*shape), affine_weights(4)

    def composed(**config):
        return run("ComposedNormalization", x, config, w)

    eps = {"epsilon": 1e-5}
    close(composed(), run("BatchNormalization", x, eps, w))
    close(composed(area="instance"), run("InstanceNormalization", x, eps, w))
    group = {"groups": 2, "epsilon": 1e-5}
    close(
        composed(area="group", groups=2),
        run("GroupNormalization", x, group, w),
    )
    layer = {"groups": 1, "epsilon": 1e-5}
    close(composed(area="layer"), run("GroupNormalization", x, layer, w))
    w = {"beta": w["beta"]}
    close(
        composed(operation="center"),
        run("MeanOnlyBatchNormalization", x, {}, w),
    )
    w = affine_weights(4)
    close(
        composed(operation="scale"),
        run("ScaleOnlyBatchNormalization", x, {}, w),
    )
    close(
        composed(area="instance", operation="scale", epsilon=1e-6),
        run("FilterResponseNormalization", x, {}, w),
    )
    close(
        composed(recovery="none", operation="center"),
        x - x.mean(tuple(range(len(shape) - 1))),
    )


def test_rms_identities():
    x, scale = random(3, 4, 8), random(8, seed=3)
    plain = run("RMSNormalization", x, {}, {"scale": scale})
    close(run("RMSNormalization", x, {"partial": 1.0}, {"scale": scale}), plain)
    close(run("RMSNormalization", x, {"partial": 1.5}, {"scale": scale}), plain)
    half = run("RMSNormalization", x, {"partial": 0.5})
    close(half, x / np.sqrt((x[..., :4] ** 2).mean(-1, keepdims=True) + 1e-6))
    close(
        run("PixelNormalization", x, {"epsilon": 1e-6}),
        run("RMSNormalization", x),
    )
    config = {"epsilon": 0.0}
    close(
        run("UnitNormalization", x) * np.sqrt(8),
        run("RMSNormalization", x, config),
    )
    both = run("RMSNormalization", x, {"axis": (1, 2)})
    close(both, x / np.sqrt((x**2).mean((1, 2), keepdims=True) + 1e-6))
    close(run("UnitNormalization", np.zeros((2, 3))), np.zeros((2, 3)))
    outside = run("RMSNormalization", x, {"epsilon_outside": True})
    close(outside, x / (np.sqrt((x**2).mean(-1, keepdims=True)) + 1e-6))


def test_variance_only_differs_from_layer_by_a_constant():
    x = random(3, 4, 8)
    difference = run("VarianceOnlyLayerNormalization", x) - run(
        "LayerNormalization", x, {"epsilon": 1e-5}
    )
    close(difference, difference[..., :1] * np.ones(8))
    x = x - x.mean(-1, keepdims=True)
    config = {"epsilon": 1e-5}
    close(
        run("VarianceOnlyLayerNormalization", x),
        run("RMSNormalization", x, config),
    )


def test_thresholded_linear_unit():
    x = random(2, 3, 4)
    close(run("TLU", x), np.maximum(x, 0))
    close(run("TLU", x, {}, {"tau": np.full(4, -1e9)}), x)
    tau = random(4, seed=5)
    config, w = {"use_tlu": True}, affine_weights(4)
    y = run("FilterResponseNormalization", x, config, {**w, "tau": tau})
    inner = run("FilterResponseNormalization", x, {}, w)
    close(y, run("TLU", inner, {}, {"tau": tau}))


def test_filter_response_moments():
    x = random(3, 5, 4)
    xhat = run("FilterResponseNormalization", x)
    nu2 = (x**2).mean(1)
    close((xhat**2).mean(1), nu2 / (nu2 + 1e-6))
    learned = run(
        "FilterResponseNormalization",
        x,
        {"learn_epsilon": True},
        {"learned_epsilon": np.array([-0.03])},
    )
    fixed = run("FilterResponseNormalization", x, {"epsilon": 0.03 + 1e-6})
    close(learned, fixed)


def test_mean_only_and_scale_only():
    x = random(5, 3, 4)
    beta = random(4, seed=1)
    y = run("MeanOnlyBatchNormalization", x, {}, {"beta": beta})
    close(y.mean((0, 1)), beta)
    centered = x - x.mean((0, 1))
    batch = run("BatchNormalization", centered, {"epsilon": 1e-5})
    close(run("ScaleOnlyBatchNormalization", centered), batch)
    config = {"centered_variance": True}
    y, new = step("ScaleOnlyBatchNormalization", x, config)
    close(y, x / np.sqrt(x.var((0, 1)) + 1e-5))
    assert set(new) == {"moving_variance"}


@pytest.mark.parametrize("shape", SHAPES)
def test_lp_two_and_std_deviation_are_batch(shape):
    x, w = random(*shape), affine_weights(4)
    batch = run("BatchNormalization", x, {"epsilon": 1e-5}, w)
    close(run("LpBatchNormalization", x, {"p": 2}, w), batch)
    close(run("LpBatchNormalization", x, {"p": 2.0}, w), batch)
    config = {"deviation": "std"}
    close(run("GeneralizedBatchNormalization", x, config, w), batch)


def test_gaussian_factors():
    close(gaussian_factor(1), np.sqrt(np.pi / 2))
    close(gaussian_factor(2), 1.0)
    x = random(200_000, seed=1, shift=0.0) / 1.5
    ones = np.ones_like(x)
    for p in (1, 2, 3, 1.5):
        value = lp_deviation(x, ones, p, 1, True, 0.0)
        np.testing.assert_allclose(value, 1, rtol=0.01)
    value = range_deviation(x, ones, 16, "code", 0.0)
    np.testing.assert_allclose(value, 1, rtol=0.1)


def test_lp_extremes():
    x = random(11)
    ones = np.ones(11)
    distance = np.sort(np.abs(x - x.mean()))[::-1]
    close(
        lp_deviation(x, ones, "inf", 3, False, 0.1), distance[:3].mean() + 0.1
    )
    close(lp_deviation(x, ones, math.inf, 99, False, 0.0), distance.mean())
    c = (1 + np.sqrt(np.pi * np.log(4))) / (2 * np.sqrt(2 * np.log(11)))
    close(lp_deviation(x, ones, "inf", 1, True, 0.0), c * distance[0])


def test_range_chunks():
    x = random(10)
    ones = np.ones(10)
    fix = 1 / np.sqrt(2 * np.log(10))
    close(range_deviation(x, ones, 1, "paper", 0.0), fix * np.ptp(x))
    ranges = [np.ptp(x[:4]), np.ptp(x[4:8]), np.ptp(x[8:])]
    fix = 1 / np.sqrt(2 * np.log(4))
    close(range_deviation(x, ones, 3, "paper", 0.0), fix * np.mean(ranges))


def test_deviation_measures():
    x = random(20)
    ones = np.ones(20)

    def measure(name, values, epsilon=0.0):
        return deviation_and_center(name, values, ones, 0.7, epsilon)

    rsd, lsd = measure("rsd", x)[0], measure("lsd", x)[0]
    close(rsd**2 + lsd**2, x.var())
    close(rsd, measure("lsd", -x)[0])
    for name in ("std", "mad", "range", "rsd", "lsd", "sqd", "wcd"):
        d, s = measure(name, x)
        moved_d, moved_s = measure(name, 3 * x + 2)
        close([moved_d, moved_s], [3 * d, 3 * s + 2])
    close(measure("sqd", x)[0], np.sort(x)[-6:].mean() - x.mean())
    close(measure("wcd", x)[0], x.max() - x.mean())


def test_generalized_state():
    x = random(6, 3)
    y, new = step("GeneralizedBatchNormalization", x, {"deviation": "mad"})
    median = np.median(x, axis=0)
    deviation = np.abs(x - median).mean(0) + 1e-5
    close(y, (x - median) / deviation)
    close(new["moving_center"], 0.1 * median)
    close(new["moving_deviation"], 0.9 + 0.1 * deviation)


def test_evonorm_special_cases():
    x = random(4, 5, 4)
    zero = {"v": np.zeros(4)}
    batch_std = np.sqrt(x.var((0, 1)) + 1e-5)
    instance_std = np.sqrt(x.var(1, keepdims=True) + 1e-5)
    y = run("EvoNorm", x, {}, zero)
    close(y, x / np.maximum(batch_std, instance_std))
    config = {"variant": "S0", "groups": 4}
    close(run("EvoNorm", x, config, zero), x / 2 / instance_std)
    s0 = run("EvoNorm", x, config)
    close(s0, run("EvoNorm", x, {"variant": "S1", "groups": 4}))
    for variant in ("B0", "B1", "B2"):
        state = {"moving_variance": x.var((0, 1))}
        config = {"variant": variant}
        evaluated = run("EvoNorm", x, config, {}, state, training=False)
        close(evaluated, run("EvoNorm", x, config))
    w = affine_weights(4)
    y = run("EvoNorm", x, {"nonlinearity": False}, w)
    close(y, x * w["gamma"] + w["beta"])


def test_local_response():
    x = random(2, 3, 7)
    for size in (1, 3, 5):
        torch = {"size": size, "alpha": 0.3, "alpha_per_element": True}
        paper = {"size": size, "alpha": 0.3 / size}
        close(
            run("LocalResponseNormalization", x, torch),
            run("LocalResponseNormalization", x, paper),
        )
    config = {"size": 15, "alpha": 0.3}
    common = (2 + 0.3 * (x**2).sum(-1, keepdims=True)) ** 0.75
    close(run("LocalResponseNormalization", x, config), x / common)
    y = run("LocalResponseNormalization", x, {"alpha": 0.0})
    close(y, x / 2**0.75)
    # Even size: one channel more before than after.
    config = {"size": 4, "alpha": 1.0}
    expected = x[..., 3] / (2 + (x[..., 1:5] ** 2).sum(-1)) ** 0.75
    close(run("LocalResponseNormalization", x, config)[..., 3], expected)


@pytest.mark.parametrize("shape", [(3, 6, 4), (2, 3, 5, 4)])
def test_large_windows(shape):
    """A window that covers the image: group and layer normalization."""
    x, w = random(*shape), affine_weights(4)
    group = {"groups": 2, "epsilon": 1e-5}
    close(
        run("LocalContextNormalization", x, {}, w),
        run("GroupNormalization", x, group, w),
    )
    config = {"window_size": 11}
    close(
        run("LocalContextNormalization", x, config, w),
        run("GroupNormalization", x, group, w),
    )
    config = {"sum_window": 13, "sup_window": 13, "border": "renormalize"}
    sigma = np.array([0.3])
    layer = {"groups": 1, "epsilon": 0.09}
    close(
        run("DivisiveNormalization", x, config, {**w, "sigma": sigma}),
        run("GroupNormalization", x, layer, w),
    )
    config = {**config, "channel_window": 9}
    close(
        run("DivisiveNormalization", x, config, {**w, "sigma": sigma}),
        run("GroupNormalization", x, layer, w),
    )
    config = {"kernel_size": 13, "kernel": "box", "floor": 0.0}
    close(
        run("LocalContrastNormalization", x, config),
        run("GroupNormalization", x, {"groups": 1, "epsilon": 0.0}),
    )
    config = {**config, "across_channels": False}
    close(
        run("LocalContrastNormalization", x, config),
        run("InstanceNormalization", x, {"epsilon": 0.0}),
    )


def test_local_context_of_one_position_is_positional():
    x = random(2, 3, 5, 4)
    config = {"window_size": 1, "channels_per_group": 4}
    close(
        run("LocalContextNormalization", x, config),
        run("PositionalNormalization", x, {"unbiased": False}),
    )


def test_local_context_window_is_clipped():
    x = random(1, 6, 2)
    y = run("LocalContextNormalization", x, {"window_size": 3})
    for i in range(6):
        block = x[0, max(i - 1, 0) : i + 2]
        expected = (x[0, i] - block.mean()) / np.sqrt(block.var() + 1e-5)
        close(y[0, i], expected)


def test_divisive_small_windows():
    x = random(2, 5, 3)
    config = {"sum_window": 3, "sup_window": 3, "sigma_initializer": 0.5}
    y = run("DivisiveNormalization", x, config)
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    v = np.stack(
        [
            x[:, i] - padded[:, i : i + 3].mean((1, 2))[:, None]
            for i in range(5)
        ],
        1,
    )
    padded = np.pad(v, ((0, 0), (1, 1), (0, 0)))
    root = np.stack(
        [(padded[:, i : i + 3] ** 2).mean((1, 2)) for i in range(5)]
    )
    close(y, v / np.sqrt(0.25 + root.T[..., None]))
    large = run("DivisiveNormalization", x, config, {"sigma": [1e6]})
    close(large * 1e6, v, rtol=1e-6)
    features = run("DivisiveNormalization", x[0], {**config})
    moved = run(
        "DivisiveNormalization",
        x[0][..., None],
        {**config, "channel_window": 1},
    )
    close(features, moved[..., 0])


def test_local_contrast_interior():
    x = random(1, 9, 9, 2)
    profile = np.exp(-(np.arange(-2, 3) ** 2) / 2)
    kernel = np.outer(profile[1:4], profile)
    kernel = kernel / kernel.sum() / 2

    def at(values, i, j):
        block = values[0, i - 1 : i + 2, j - 2 : j + 3]
        return (kernel[..., None] * block).sum()

    v = np.zeros_like(x)
    for i in range(1, 8):
        for j in range(2, 7):
            v[0, i, j] = x[0, i, j] - at(x, i, j)
    config = {"kernel_size": (3, 5), "sigma": 1.0, "floor": 0.0}
    for border in ("zero", "renormalize", "torch7"):
        y = run("LocalContrastNormalization", x, {**config, "border": border})
        # Only here the window of every v in the window is inside.
        for i in range(2, 7):
            close(y[0, i, 4], v[0, i, 4] / np.sqrt(at(v**2, i, 4)))


def test_local_contrast_floor():
    x = random(2, 6, 5, 3)
    y = run("LocalContrastNormalization", x)
    close(run("LocalContrastNormalization", 7 * x), y)
    zero = run("LocalContrastNormalization", np.zeros_like(x))
    close(zero, np.zeros_like(x))
    constant = run("LocalContrastNormalization", x * 0 + 3, {"floor": 1e-4})
    close(constant, np.zeros_like(x))
    floored = run("LocalContrastNormalization", x, {"floor": 1e9})
    replaced = run(
        "LocalContrastNormalization", x, {"floor": 1e9, "floor_value": 2.0}
    )
    close(floored * 1e9, replaced * 2)


def stored(value):
    return np.sqrt(value + 2.0**-36)


def test_generalized_divisive():
    x = random(2, 3, 4)
    identity = {"beta": stored(np.ones(4)), "gamma": stored(np.zeros((4, 4)))}
    for variant in ("gdn", "gdn1"):
        config = {"variant": variant}
        close(run("GeneralizedDivisiveNormalization", x, config, identity), x)
    small = {**identity, "gamma": stored(np.full((4, 4), 1e-6))}
    y = run("GeneralizedDivisiveNormalization", x, {}, small)
    back = run("GeneralizedDivisiveNormalization", y, {"inverse": True}, small)
    close(back, x, atol=1e-8, rtol=1e-8)
    config = {"variant": "neuroscience", "exponent": 2.0}
    w = {"beta": stored(np.full(4, 0.3)), "gamma": stored(np.eye(4))}
    y = run("GeneralizedDivisiveNormalization", x, config, w)
    close(y, x**2 / (0.3 + x**2))
    # gamma[i, j]: output i, input j.
    gamma = np.zeros((4, 4))
    gamma[0, 3] = 2.0
    w = {"beta": stored(np.ones(4)), "gamma": stored(gamma)}
    y = run("GeneralizedDivisiveNormalization", x, {"variant": "gdn1"}, w)
    close(y[..., 0], x[..., 0] / (1 + 2 * np.abs(x[..., 3])))
    close(y[..., 3], x[..., 3])
    default = run("GeneralizedDivisiveNormalization", x)
    close(default, x / np.sqrt(1 + 0.1 * x**2))


def covariance(x):
    points = (x - x.mean(tuple(range(x.ndim - 1)))).reshape(-1, x.shape[-1])
    return points.T @ points / len(points)


def test_iterative_is_whitening_for_many_steps():
    x = random(20, 4, 3) @ random(3, 3, seed=4)
    sigma = covariance(x) + 1e-5 * np.eye(3)
    values, vectors = np.linalg.eigh(sigma)
    zca = vectors @ np.diag(values**-0.5) @ vectors.T
    y = run("IterativeNormalization", x, {"iterations": 40})
    close(y, (x - x.mean((0, 1))) @ zca)
    close(covariance(y), np.eye(3) - 1e-5 * np.linalg.inv(sigma))


def test_newton_is_the_matrix_iteration():
    a = random(5, 5)
    sigma = a @ a.T + np.eye(5)
    trace = np.trace(sigma)
    p = np.eye(5)
    for _ in range(4):
        p = 1.5 * p - 0.5 * p @ p @ p @ sigma / trace
    close(newton_inverse_root(sigma, 4), p / np.sqrt(trace))


@pytest.mark.parametrize("iterations", [0, 1, 5])
def test_iterative_on_single_channels_is_batch(iterations):
    x, w = random(6, 3, 4), affine_weights(4)
    config = {"group_size": 1, "iterations": iterations}
    batch = run("BatchNormalization", x, {"epsilon": 1e-5}, w)
    close(run("IterativeNormalization", x, config, w), batch)


def test_iterative_groups():
    x = random(12, 3, 5)
    config = {"group_size": 3, "momentum": 0.5}
    y, new = step("IterativeNormalization", x, config)
    first = run("IterativeNormalization", x[..., :3], config)
    last, last_state = step("IterativeNormalization", x[..., 3:], config)
    close(y, np.concatenate([first, last], -1))
    assert new["moving_matrix"].shape == (2, 3, 3)
    close(new["moving_matrix"][1, :2, :2], last_state["moving_matrix"][0])
    close(new["moving_matrix"][1, 2], [0, 0, 1])
    zero = run("IterativeNormalization", x, {"iterations": 0})
    trace = np.trace(covariance(x)) + 5e-5
    close(zero, (x - x.mean((0, 1))) / np.sqrt(trace))
    evaluated = run("IterativeNormalization", x, config, training=False)
    close(evaluated, x)


WHITENINGS = ["zca", "pca", "cholesky"]


def decorrelated(x, whitening="zca", w=None, **config):
    config = {"whitening": whitening, "epsilon": 0.01, **config}
    return run("DecorrelatedBatchNormalization", x, config, w)


@pytest.mark.parametrize("whitening", [*WHITENINGS, "iterative"])
def test_decorrelated_single_channels_are_batch(whitening):
    x, w = random(6, 3, 4), affine_weights(4)
    batch = run("BatchNormalization", x, {"epsilon": 0.01}, w)
    close(decorrelated(x, whitening, w, group_size=1), batch)


def test_decorrelated_identities():
    x = random(20, 4, 3) @ random(3, 3, seed=4)
    q, _ = np.linalg.qr(random(3, 3, seed=5))
    left = np.linalg.inv(covariance(x) + 0.01 * np.eye(3))
    points = {k: decorrelated(x, k).reshape(-1, 3) for k in WHITENINGS}
    for y in points.values():
        # One Gram matrix: they differ by a rotation.
        close(y @ y.T, points["zca"] @ points["zca"].T)
    close(covariance(points["zca"]), np.eye(3) - 0.01 * left)
    close(decorrelated(x @ q.T), decorrelated(x) @ q.T)
    rotated = covariance(decorrelated(x, "decorrelate"))
    close(rotated, np.diag(np.linalg.eigvalsh(covariance(x))[::-1]))
    many = decorrelated(x, "iterative", iterations=50)
    close(many.reshape(-1, 3), points["zca"])


@pytest.mark.parametrize("whitening", ["cholesky", "zca"])
def test_whitening_coloring(whitening):
    x, color = random(20, 4, 3), random(3, 3, seed=4)
    name = "WhiteningColoringBatchNormalization"
    config = {"whitening": whitening, "epsilon": 0.0}
    plain = run(name, x, config)
    rate = np.sqrt(79 / 80)
    close(plain, rate * decorrelated(x, whitening, epsilon=0.0))
    close(run(name, x, config, {"color": color}), plain @ color)
    # Soft classes mix matrices; bases make them up.
    soft = np.abs(random(20, 2, seed=5))
    classes, bias = random(2, 3, 3, seed=6), random(2, 3, seed=7)
    weights = {"class_color": classes, "class_bias": bias}
    y = run(name, [x, soft], {**config, "num_classes": 2}, weights)
    more = np.einsum("npi,nk,kij->npj", plain, soft, classes)
    close(y, plain + more + (soft @ bias)[:, None])
    weights = {"class_code": np.eye(2), "color_basis": classes}
    config = {**config, "num_classes": 2, "num_bases": 2}
    y = run(name, [x, np.arange(20) % 2], config, weights)
    close(y[1::2], (plain + plain @ classes[1])[1::2])


def test_conditional_batch():
    x, w = random(4, 3, 5), affine_weights(5)
    c = random(4, 2, seed=3)
    name, config = "ConditionalBatchNormalization", {}
    plain = run("BatchNormalization", x, {"epsilon": 1e-5}, w)
    close(run(name, [x, c], config, w), plain)
    projection = random(3, 10, seed=5)
    w = {**w, "projection": projection}
    classes = np.array([2, 0, 1, 2])
    config = {"num_classes": 3}
    hard = run(name, [x, classes], config, w)
    close(hard, run(name, [x, classes[:, None]], config, w))
    close(hard, run(name, [x, np.eye(3)[classes]], config, w))
    xhat = run("BatchNormalization", x, {"epsilon": 1e-5})
    gamma = w["gamma"] + projection[classes, :5]
    beta = w["beta"] + projection[classes, 5:]
    close(hard, xhat * gamma[:, None] + beta[:, None])


def test_adaptive_instance():
    x, style = random(2, 6, 4), random(2, 5, 4, seed=2, shift=3.0)
    name = "AdaptiveInstanceNormalization"
    close(run(name, [x, x]), x)
    y = run(name, [x, style], {"epsilon": 0.0})
    close(y.mean(1), style.mean(1))
    close(y.std(1), style.std(1))
    half = run(name, [x, style], {"epsilon": 0.0, "alpha": 0.5})
    close(half, (x + y) / 2)
    ones, zeros = np.ones((2, 4)), np.zeros((2, 4))
    instance = run("InstanceNormalization", x)
    close(run(name, [x, ones, zeros], {"variant": "generated"}), instance)
    w = {"kernel": np.zeros((3, 8))}
    latent = random(2, 3, seed=9)
    close(run(name, [x, latent], {"variant": "dense"}, w), instance)
    w = {"kernel": random(3, 8, seed=5), "bias": random(8, seed=6)}
    config = {"variant": "dense", "gain": 2.0}
    halves = latent @ w["kernel"] * 2 / np.sqrt(3) + w["bias"]
    expected = instance * (1 + halves[:, None, :4]) + halves[:, None, 4:]
    close(run(name, [x, latent], config, w), expected)


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_switchable_with_one_normalizer(chosen):
    x = random(3, 5, 4)
    logits = np.full(3, -1e4)
    logits[chosen] = 1e4
    w = {"mean_weight": logits, "variance_weight": logits}
    y = run("SwitchableNormalization", x, {"unbiased": False}, w)
    named = [
        ("InstanceNormalization", {}),
        ("GroupNormalization", {"groups": 1, "epsilon": 1e-5}),
        ("BatchNormalization", {"epsilon": 1e-5}),
    ][chosen]
    close(y, run(named[0], x, named[1]))


def test_switchable_on_features():
    x = random(6, 4)
    w = {"mean_weight": [1e4, -1e4], "variance_weight": [1e4, -1e4]}
    y = run("SwitchableNormalization", x, {"epsilon": 0.0}, w)
    close(
        y, run("PositionalNormalization", x, {"epsilon": 0.0, "unbiased": True})
    )
    _, new = step("SwitchableNormalization", x, {"momentum": 0.0})
    close(new["moving_mean"], x.mean(0))
    close(new["moving_variance"], x.var(0, ddof=1))


def test_switchable_state_and_single_sample():
    x = random(1, 6, 4)
    config = {"unbiased": False, "momentum": 0.0}
    _, new = step("SwitchableNormalization", x, config)
    close(new["moving_mean"], x.mean((0, 1)))
    close(new["moving_variance"], x.var((0, 1)))
    config = {"normalizers": ("instance", "layer")}
    _, new = step("SwitchableNormalization", x, config)
    assert new == {}


def test_population_identities():
    x = random(5, 3, 4)
    name = "PopulationBatchNormalization"
    batch = run("BatchNormalization", x, {"epsilon": 1e-5})
    close(run(name, x, {"weight": 1.0}), batch)
    close(run(name, x, {"weight": "diminishing"}), batch)
    state = {"moving_mean": np.full(4, 0.3), "moving_variance": np.full(4, 2)}
    close(
        run(name, x, {"weight": 0.0}, {}, state),
        run(name, x, {}, {}, state, training=False),
    )
    _, new = step(name, x, {"weight": 1.0})
    close(new["moving_mean"], 0.1 * x.mean((0, 1)))
    assert new["step"] == 1


def test_population_diminishing_is_the_arithmetic_mean():
    name, config = "PopulationBatchNormalization", {"weight": "diminishing"}
    state, means = {}, []
    for t in range(4):
        x = random(5, 3, 4, seed=t)
        means.append(x.mean((0, 1)))
        y, state = step(name, x, config, state)
        close(state["moving_mean"], np.mean(means, 0))
        evaluated, _ = step(name, x, config, state, training=False)
        close(y, evaluated)


def test_population_dinh_first_step():
    x = random(5, 3, 4)
    config = {"weight": 0.25, "bias_correction": "dinh", "epsilon": 0.0}
    mean = 0.25 * x.mean((0, 1)) / 0.75
    var = (0.25 * x.var((0, 1)) + 0.75) / 0.75
    y = run("PopulationBatchNormalization", x, config)
    close(y, (x - mean) / np.sqrt(var))


# Layout, masks, state --------------------------------------------------------

EVERY = [
    ("BatchNormalization", {}),
    ("BatchNormalization", {"renorm": True}),
    ("InstanceNormalization", {}),
    ("GroupNormalization", {"groups": 2}),
    ("PositionalNormalization", {"scale": True, "center": True}),
    ("BatchGroupNormalization", {"groups": 2, "batch_groups": 2}),
    ("BatchGroupNormalization", {"groups": 2, "mode": "flat"}),
    ("LocalContrastNormalization", {"kernel_size": 3}),
    ("LocalContrastNormalization", {"border": "torch7", "floor": 0.1}),
    ("LocalContrastNormalization", {"kernel_size": 3, "border": "zero"}),
    ("LocalResponseNormalization", {}),
    ("DivisiveNormalization", {"sum_window": 3}),
    ("DivisiveNormalization", {"border": "renormalize"}),
    ("GeneralizedDivisiveNormalization", {}),
    ("LocalContextNormalization", {"window_size": 3}),
    ("RMSNormalization", {"center": True}),
    ("PixelNormalization", {}),
    ("VarianceOnlyLayerNormalization", {"scale": True}),
    ("FilterResponseNormalization", {"use_tlu": True, "learn_epsilon": True}),
    ("TLU", {}),
    ("MeanOnlyBatchNormalization", {}),
    ("ScaleOnlyBatchNormalization", {}),
    ("ScaleOnlyBatchNormalization", {"centered_variance": True}),
    ("LpBatchNormalization", {"p": 1}),
    ("LpBatchNormalization", {"p": "inf", "top_k": 2}),
    ("LpBatchNormalization", {"p": 3}),
    ("RangeBatchNormalization", {"num_chunks": 4}),
    ("UnitNormalization", {}),
    ("EvoNorm", {}),
    ("EvoNorm", {"variant": "S0", "groups": 2}),
    ("IterativeNormalization", {"group_size": 3}),
    ("DecorrelatedBatchNormalization", {"group_size": 3}),
    ("DecorrelatedBatchNormalization", {"whitening": "pca"}),
    ("WhiteningColoringBatchNormalization", {}),
    ("SwitchableNormalization", {}),
    ("PopulationBatchNormalization", {}),
    ("ComposedNormalization", {"area": "group", "groups": 2}),
    ("ComposedNormalization", {"statistics": "moving"}),
    *(
        ("GeneralizedBatchNormalization", {"deviation": d})
        for d in ("std", "mad", "range", "rsd", "lsd", "sqd", "wcd")
    ),
]
BATCH = [row for row in EVERY if initial_state(*row, (5, 6, 4))]
PASSES = {
    "PositionalNormalization",
    "LocalResponseNormalization",
    "GeneralizedDivisiveNormalization",
    "RMSNormalization",
    "PixelNormalization",
    "VarianceOnlyLayerNormalization",
    "TLU",
    "UnitNormalization",
}
# Flat pieces depend on the number of positions, parts on that of samples.
CUT_POSITIONS = [
    row
    for row in EVERY
    if row[0] not in PASSES and row[1].get("mode") != "flat"
]
CUT_SAMPLES = [row for row in BATCH if row[1].get("batch_groups", 1) == 1]


def random_weights(name, config, shape):
    shapes = weight_shapes(name, config, [shape])
    return {
        key: np.abs(random(*size, seed=i)) + 0.1
        for i, (key, size) in enumerate(shapes.items())
    }


def case_id(value):
    return (
        "-".join(map(str, value.values())) if isinstance(value, dict) else value
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name, config", EVERY, ids=case_id)
def test_channels_first(name, config, shape):
    x = random(*shape)
    w = random_weights(name, config, shape)
    first = {**config, "axis": 1}
    a, state = ORACLES[name]([x], config, w, {}, True)
    moved, moved_state = ORACLES[name](
        [np.moveaxis(x, -1, 1)], first, w, {}, True
    )
    assert a.shape == shape
    assert np.all(np.isfinite(a))
    close(np.moveaxis(moved, 1, -1), a)
    assert state.keys() == initial_state(name, config, shape).keys()
    for key, value in state.items():
        close(moved_state[key], value)
    evaluated, kept = ORACLES[name]([x], config, w, state, False)
    assert np.all(np.isfinite(evaluated))
    for key, value in state.items():
        np.testing.assert_array_equal(kept[key], value)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("name, config", EVERY, ids=case_id)
def test_mask_of_ones_is_no_mask(name, config, rank):
    x = random(5, 6, 4)
    plain, state = step(name, x, config)
    masked, masked_state = step(
        name, x, config, mask=np.ones(x.shape[:rank], bool)
    )
    close(masked, plain)
    for key, value in state.items():
        close(masked_state[key], value)


@pytest.mark.parametrize("name, config", CUT_POSITIONS, ids=case_id)
def test_mask_equals_cut_out_positions(name, config):
    """The end of every sample is masked and holds NaN."""
    x = random(4, 6, 4)
    cut = x[:, :4]
    mask = np.zeros((4, 6), bool)
    mask[:, :4] = True
    x[:, 4:] = np.nan
    y, state = step(name, x, config, mask=mask)
    expected, expected_state = step(name, cut, config)
    close(y[:, :4], expected)
    for key, value in state.items():
        close(value, expected_state[key])


@pytest.mark.parametrize("name, config", CUT_SAMPLES, ids=case_id)
def test_mask_equals_cut_out_samples(name, config):
    x = random(5, 6, 4)
    keep = np.array([1, 1, 0, 1, 0])
    cut = x[keep == 1]
    x[keep == 0] = np.nan
    y, state = step(name, x, config, mask=keep)
    expected, expected_state = step(name, cut, config)
    close(y[keep == 1], expected)
    for key, value in state.items():
        close(value, expected_state[key])


INTEGER_WEIGHTS = [
    ("BatchNormalization", {"unbiased_moving_variance": True}),
    ("ScaleOnlyBatchNormalization", {}),
    ("LpBatchNormalization", {"p": 3}),
    ("IterativeNormalization", {}),
    ("DecorrelatedBatchNormalization", {"running": "matrix"}),
    ("WhiteningColoringBatchNormalization", {"whitening": "zca"}),
    ("PopulationBatchNormalization", {}),
    ("GeneralizedBatchNormalization", {"deviation": "lsd"}),
]


@pytest.mark.parametrize("name, config", INTEGER_WEIGHTS, ids=case_id)
def test_integer_weights_repeat_samples(name, config):
    x = random(4, 3, 4)
    repeats = np.array([1, 3, 2, 1])
    y, state = step(name, x, config, mask=repeats.astype(float))
    expected, expected_state = step(name, np.repeat(x, repeats, 0), config)
    close(np.repeat(y, repeats, 0), expected)
    for key, value in state.items():
        close(value, expected_state[key])


def test_layer_mask():
    x = random(3, 5, 4)
    mask = np.ones((3, 5, 4), bool)
    mask[0, 1, 2:] = False
    mask[1, 2] = False
    x[~mask] = np.nan
    y = run("LayerNormalization", x, {}, {"beta": np.arange(4.0)}, mask=mask)
    part = x[0, 1, :2]
    expected = (part - part.mean()) / np.sqrt(part.var() + 1e-3)
    close(y[0, 1, :2], expected + [0, 1])
    close(y[1, 2], np.arange(4.0))


@pytest.mark.parametrize("name, config", BATCH, ids=case_id)
def test_nothing_seen_keeps_the_state(name, config):
    x = random(5, 6, 4)
    _, state = step(name, x, config)
    for seen, mask in (
        (np.full_like(x, np.nan), np.zeros(5, bool)),
        (x[:0], None),
    ):
        y, kept = step(name, seen, config, state, mask=mask)
        assert y.shape == seen.shape
        assert kept.keys() == state.keys()
        for key, value in state.items():
            np.testing.assert_array_equal(kept[key], value)


def test_unseen_channel_keeps_its_state():
    x = random(5, 3, 2)
    mask = np.ones(x.shape, bool)
    mask[..., 1] = False
    state = {"moving_mean": np.array([0.1, 0.7])}
    _, new = step("BatchNormalization", x, {}, state, mask=mask)
    assert new["moving_mean"][1] == 0.7
    close(new["moving_mean"][0], 0.099 + 0.01 * x[..., 0].mean())


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="momentun"):
        run("BatchNormalization", random(3, 4), {"momentun": 0.5})


# Golden vectors --------------------------------------------------------------


def describe(row, arrays, part):
    """{our name: array} for row["parameters"] or row["state"] entries."""
    names = {
        "gamma": "gamma",
        "beta": "beta",
        "v": "v",
        "TLU threshold tau": "tau",
        "logits of the mean weights": "mean_weight",
        "logits of the variance weights": "variance_weight",
        "logits of the covariance weights": "covariance_weight",
    }
    result = {}
    for key, meaning in row[part].items():
        if meaning in names:
            result[names[meaning]] = np.squeeze(arrays[key])
    return result


def state_after(row, arrays, suffix=""):
    """Moving mean and variance that the program holds after a call."""
    result = {}
    for key, meaning in row["state"].items():
        prefix = "state0_" if suffix == "0" else "state_"
        if not key.startswith(prefix):
            continue
        for start, name in (
            ("moving mean", "moving_mean"),
            ("moving variance", "moving_variance"),
        ):
            if meaning == start or meaning.startswith(start + " (groups,)"):
                result[name] = np.ravel(arrays[key])
    return result


def axis_of(row):
    return 1 if row["layout"] == "channels_first" else -1


class Case:
    """One golden row in the terms of the layers.

    `config`, `weights`, `state`: of the layer; `after`: expected state;
    `detached`: the program treats statistics as constants.
    """

    def __init__(self, row, arrays):
        self.row = row
        self.arrays = arrays
        self.config = {"axis": axis_of(row)}
        self.weights = describe(row, arrays, "parameters")
        self.state = state_after(row, arrays, "0")
        self.after = state_after(row, arrays)
        self.evaluate = True
        self.detached = False
        self.inputs = row["inputs"]
        c = row["config"]
        if "eps" in c or "epsilon" in c:
            self.config["epsilon"] = c.get("eps", c.get("epsilon"))
        getattr(self, row["method"])(c)

    def momentum(self):
        if self.row["keep_momentum"] is not None:
            self.config["momentum"] = self.row["keep_momentum"]
        if self.row["unbiased_moving_variance"]:
            self.config["unbiased_moving_variance"] = True

    def BatchNormalization(self, c):
        self.momentum()

    def LayerNormalization(self, c):
        self.config["axis"] = tuple(range(-len(c["normalized_shape"]), 0))
        if len(c["normalized_shape"]) > 1:
            self.weights = {
                name: self.arrays[key]
                for key, name in self.row["parameters"].items()
            }

    def InstanceNormalization(self, c):
        pass

    def GroupNormalization(self, c):
        self.config["groups"] = c["num_groups"]

    def PositionalNormalization(self, c):
        self.config["unbiased"] = self.row["unbiased"]

    MomentShortcut = PositionalNormalization

    def BatchGroupNormalization(self, c):
        self.momentum()
        self.config["groups"] = c["num_groups"]
        self.config["batch_groups"] = c["batch_groups"]
        if c["channel_groups"] == "interleaved":
            # To groups-major order: channel i of group g is i*groups + g.
            channels = self.arrays["x"].shape[1]
            order = np.arange(channels).reshape(-1, c["num_groups"]).T.ravel()
            for key in ("x", "y", "dy", "dx", "y_eval"):
                if key in self.arrays:
                    self.arrays[key] = self.arrays[key][:, order]
            self.weights = {k: v[order] for k, v in self.weights.items()}

    def LocalContrastNormalization(self, c):
        self.config = {
            "axis": axis_of(self.row),
            "kernel_size": tuple(c["kernel_size"]),
            "kernel": self.arrays["kernel"],
            "sigma": c["sigma"],
            "across_channels": c["across_channels"],
            "floor": c["threshold"],
            "floor_value": c["thresval"],
            "border": "torch7",
        }

    def LocalResponseNormalization(self, c):
        self.config["alpha"] = c["alpha"]
        self.config["beta"] = c["beta"]
        self.config["bias"] = c.get("bias", c.get("k"))
        self.config["size"] = c.get("size", 2 * c.get("depth_radius", 0) + 1)
        self.config["alpha_per_element"] = c["alpha_divided_by_size"]

    def DivisiveNormalization(self, c):
        for key in ("sum_window", "sup_window"):
            self.config[key] = c[key]
        self.config["border"] = c["border"]
        self.config["channel_window"] = c.get("channel_window")
        self.weights["sigma"] = np.sqrt([self.config.pop("epsilon")])

    def GeneralizedDivisiveNormalization(self, c):
        for key in ("variant", "inverse", "beta_min", "gamma_init"):
            self.config[key] = c[key]
        self.weights = {
            "beta": self.arrays["param_beta"],
            "gamma": self.arrays["param_gamma"],
        }

    def LocalContextNormalization(self, c):
        self.config["channels_per_group"] = c["channels_per_group"]
        self.config["window_size"] = c["window_size"]
        self.config["compat"] = True
        self.detached = not self.row["unbiased"]

    def RMSNormalization(self, c):
        self.config["partial"] = c["p"]
        self.config["epsilon_outside"] = self.row["epsilon_place"] == "outside"
        self.weights["scale"] = self.weights.pop("gamma")
        self.config["center"] = "beta" in self.weights

    def PixelNormalization(self, c):
        pass

    def FilterResponseNormalization(self, c):
        self.config["epsilon"] = abs(c["eps_value"])
        self.config["use_tlu"] = "tau" in self.weights

    def MeanOnlyBatchNormalization(self, c):
        self.momentum()
        bias = np.ravel(self.arrays["param_bias"])
        self.weights = {"beta": bias}

    def inverse_scales(self):
        """The state holds inverse deviations; inference is met by them."""
        self.momentum()
        inverse = np.ravel(self.arrays["state_inv_scale"])
        self.evaluation_state = {
            "moving_mean": self.after["moving_mean"],
            "moving_deviation": 1 / inverse,
        }

    def LpBatchNormalization(self, c):
        self.inverse_scales()
        if c["deviation"] == "l1":
            self.config["p"] = 1
            self.config["gaussian_correction"] = c["normalized"]
        else:
            self.config["gaussian_correction"] = c["gaussian_correction"]
            self.config["p"] = c.get("p", "inf")
            self.config["top_k"] = c.get("k", 1)

    def RangeBatchNormalization(self, c):
        self.inverse_scales()
        self.config["num_chunks"] = c["num_chunks"]
        self.config["scale_fix"] = c["scale_fix"]

    def EvoNorm(self, c):
        self.momentum()
        self.config["variant"] = c["variant"]
        self.config["nonlinearity"] = c.get("apply_act", True)
        if "groups" in c:
            self.config["groups"] = c["groups"]

    def IterativeNormalization(self, c):
        self.momentum()
        self.config["iterations"] = c["T"]
        self.config["group_size"] = c["num_channels"]
        self.state = self.whitening_state("state0", "wm", "moving_matrix")
        self.after = self.whitening_state("state", "wm", "moving_matrix")

    def whitening_state(self, prefix, stem, name):
        a = self.arrays
        stem = f"{prefix}_{stem}"
        if stem in a:
            means, matrices = list(a[f"{prefix}_mean"]), a[stem]
        else:
            groups = sum(key.startswith(f"{stem}_g") for key in a)
            means = [a[f"{prefix}_mean_g{g}"] for g in range(groups)]
            matrices = [a[f"{stem}_g{g}"] for g in range(groups)]
        size = len(matrices[0])
        padded = np.stack([np.eye(size)] * len(matrices))
        for target, matrix in zip(padded, matrices, strict=True):
            target[: len(matrix), : len(matrix)] = matrix
        mean = np.concatenate([np.ravel(m) for m in means])
        return {"moving_mean": mean, name: padded}

    def DecorrelatedBatchNormalization(self, c):
        self.momentum()
        for name in ("group_size", "whitening", "running"):
            self.config[name] = c[name]
        name = f"moving_{c['running']}"
        if c.get("row_signs") == "arbitrary":
            self.align_row_signs()
        self.state = self.whitening_state("state0", "mat", name)
        self.after = self.whitening_state("state", "mat", name)

    def align_row_signs(self):
        """The arrays as of a run with our signs of the rows of W."""
        a, keep = self.arrays, self.row["keep_momentum"]
        old, new = a["state0_mat_g0"], a["state_mat_g0"]
        rows = (new - keep * old) / (1 - keep)
        largest = np.argmax(np.abs(rows), axis=1)
        signs = np.sign(rows[np.arange(len(rows)), largest])
        a["state_mat_g0"] = keep * old + (1 - keep) * signs[:, None] * rows
        signs = signs.reshape(a["param_beta"].shape)
        a["y"] = signs * (a["y"] - a["param_beta"]) + a["param_beta"]
        a["dy"] = signs * a["dy"]
        # Inference is met with the state of the run itself.
        self.evaluation_state = {
            "moving_mean": np.ravel(a["state_mean_g0"]),
            "moving_matrix": new[None],
        }

    def WhiteningColoringBatchNormalization(self, c):
        self.momentum()
        # The one that normalizes is unbiased too.
        self.config.pop("unbiased_moving_variance")
        a = self.arrays
        self.config["whitening"] = c["decomposition"]
        self.weights = {"color": a["param_color"], "bias": a["param_bias"]}
        self.state, self.after = (
            {
                "moving_mean": np.ravel(a[f"{prefix}_moving_mean"]),
                "moving_covariance": a[f"{prefix}_moving_cov"][None],
            }
            for prefix in ("state0", "state")
        )

    def GroupWhitening(self, c):
        self.config["groups"] = c["num_groups"]
        self.config["whitening"] = c["whitening"]
        self.config["iterations"] = c["T"]
        if self.row["epsilon_place"] == "none":
            self.config["epsilon"] = 0.0

    def SwitchableWhitening(self, c):
        self.momentum()
        parts = ["batch_whitening", "instance_whitening"]
        self.config["normalizers"] = tuple(
            parts + ["layer"] * (c["sw_type"] == 3)
        )
        self.config["group_size"] = c["num_pergroup"]
        self.config["iterations"] = c["T"]
        self.config["tie_weights"] = c["tie_weight"]
        self.state, self.after = (
            {
                "moving_mean": np.ravel(self.arrays[f"{p}_running_mean"]),
                "moving_covariance": self.arrays[f"{p}_running_cov"],
            }
            for p in ("state0", "state")
        )

    def DomainWhitening(self, c):
        self.momentum()
        self.config["num_domains"] = 1
        self.config["group_size"] = c["group_size"]
        self.state, self.after = (
            {
                "moving_mean": np.reshape(
                    self.arrays[f"{p}_running_mean"], (1, -1)
                ),
                "moving_covariance": self.arrays[f"{p}_running_variance"][None],
            }
            for p in ("state0", "state")
        )

    def deconvolution(self, c, block):
        self.momentum()
        self.config["block"] = block
        self.config["iterations"] = c["n_iter"]
        a = self.arrays
        mean = "running_mean1" if "state_running_mean1" in a else "running_mean"
        for p in ("state0", "state"):
            matrices = a[f"{p}_running_deconv"]
            size = matrices.shape[-1]
            found = {
                "moving_mean": np.ravel(a[f"{p}_{mean}"]),
                "moving_matrix": matrices.reshape(-1, size, size),
            }
            setattr(self, "state" if p == "state0" else "after", found)
        if "param_weight" in a:
            out_last = (*range(2, a["param_weight"].ndim), 1, 0)
            self.weights = {"kernel": np.transpose(a["param_weight"], out_last)}
            self.weights["bias"] = a["param_bias"]

    def DeconvolutionDense(self, c):
        self.config.pop("axis")
        self.deconvolution(c, c["effective_block"])
        self.config["units"] = c["out_features"]

    def DeconvolutionConv2D(self, c):
        self.config.pop("axis")
        self.deconvolution(c, c["effective_block"])
        self.config["data_format"] = self.row["layout"]
        for ours, theirs in (
            ("filters", "out_channels"),
            ("kernel_size", "kernel_size"),
            ("strides", "stride"),
            ("dilation_rate", "dilation"),
            ("groups", "groups"),
            ("sampling_stride", "sampling_stride"),
        ):
            self.config[ours] = c[theirs]
        # Symmetric, at stride 1 and for odd kernels.
        assert c["stride"] == 1 and c["padding"] == c["kernel_size"] // 2
        self.config["padding"] = "same"

    def ChannelDeconvolution(self, c):
        self.deconvolution(c, c["block"])
        self.config["sampling_stride"] = c["sampling_stride"]
        self.state["step"] = np.array(c["num_batches_tracked"])

    def WhiteningColoringTransform(self, c):
        self.config["alpha"] = c["alpha"]
        self.config["content_shift"] = c["content_shift"]
        self.config["threshold"] = c["sv_threshold"]

    def GroupwiseWhiteningColoring(self, c):
        self.config["groups"] = c["n_group"]
        self.config["units"] = c["mlp_dim"]
        self.config["area"] = "batch"
        for name in ("coloring_layers", "mean_layers", "negative_slope"):
            self.config[name] = c[name]
        self.config["epsilon"] = c["eps"]
        for network, short in (("coloring", "CT"), ("mean", "mu")):
            for i in range(c[f"{network}_layers"]):
                own = f"param_mlp_{short}__main__{i}__fc"
                kernel = self.arrays[f"{own}__weight"].T
                self.weights[f"{network}_{i}_kernel"] = kernel
                bias = self.arrays[f"{own}__bias"]
                self.weights[f"{network}_{i}_bias"] = bias

    def ConditionalBatchNormalization(self, c):
        self.momentum()
        a = self.arrays
        kernels = [a["param_gain__weight"].T, a["param_bias__weight"].T]
        self.weights = {
            "gamma": 1 + a["param_gain__bias"],
            "beta": a["param_bias__bias"],
            "projection": np.concatenate(kernels, 1),
        }

    def AdaptiveInstanceNormalization(self, c):
        self.config["variant"] = c["variant"]
        self.config["unbiased"] = self.row["unbiased"]
        self.config["alpha"] = c.get("alpha", 1.0)
        if c["variant"] == "dense":
            a = self.arrays
            bias = a["param_style__linear__bias"].copy()
            bias[: len(bias) // 2] += c["gamma_offset"] - 1
            self.config["gain"] = c["weight_gain"]
            self.weights = {
                "kernel": a["param_style__linear__weight_orig"].T,
                "bias": bias,
            }

    def SwitchableNormalization(self, c):
        if self.row["keep_momentum"] is not None:
            self.config["momentum"] = self.row["keep_momentum"]
        self.config["unbiased"] = self.row["unbiased"]
        if not c.get("using_bn", True):
            self.config["normalizers"] = ("instance", "layer")

    def PopulationBatchNormalization(self, c):
        self.momentum()
        self.config["weight"] = c["bn_lag"]
        self.config["bias_correction"] = c["bias_correction"]

    def BatchRenormalization(self, c):
        self.momentum()
        self.config["renorm"] = True
        self.config["renorm_clipping"] = c["renorm_clipping"]
        self.config["renorm_momentum"] = c["renorm_momentum"]
        self.state = {
            key.removeprefix("state0_"): value
            for key, value in self.arrays.items()
            if key.startswith("state0_")
        }
        self.detached = True


NAMES = {"BatchRenormalization": "BatchNormalization"}
# The others: test_statistics_oracles.py, test_recovery_oracles.py,
# test_mixture_oracles.py.
HERE = {*ORACLES} - {
    *statistics_shapes.NAMES,
    *recovery_shapes.NAMES,
    *mixture_shapes.NAMES,
}


def call(case, inputs, state, training):
    """(y, new state) of the method on the row's inputs."""
    method = case.row["method"]
    if method == "MomentShortcut":
        config = {**case.config, "return_moments": True}
        (y, mean, std), _ = ORACLES["PositionalNormalization"](
            inputs, config, {}, {}, training
        )
        assert case.row["config"]["between"] == "tanh"
        return ORACLES[method]([np.tanh(y), mean, std], {}, {}, {}, training)
    name = NAMES.get(method, method)
    return ORACLES[name](inputs, case.config, case.weights, state, training)


def golden_rows():
    with open(DATA / "manifest.jsonl", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    known = [
        row
        for row in rows
        if (row["method"] in HERE or row["method"] in NAMES)
        and row["kind"] in ("single", "sequence")
    ]
    return [pytest.param(row, id=row["name"]) for row in known]


def load(row):
    with np.load(DATA / f"{row['name']}.npz") as file:
        arrays = {key: file[key].astype("float64") for key in file.files}
    return arrays


def tolerance(row):
    if row["method"] == "BatchRenormalization":
        return 2e-7  # the program rounds its momenta to float32
    return 1e-6 if row["dtype"] == "float32" else 1e-9


def agree(actual, expected, row):
    scale = max(np.max(np.abs(expected)), 1e-30)
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance(row) * scale
    )


def check_gradient(case, inputs, state, dy, dx, row):
    """sum(y dy) along three directions, central differences."""
    generator = np.random.default_rng(0)
    size = 1e-6 * np.max(np.abs(inputs[0]))
    for _ in range(3):
        direction = generator.normal(size=inputs[0].shape)
        direction /= np.linalg.norm(direction)
        ends = []
        for sign in (1, -1):
            moved = inputs[0] + sign * size * direction
            y, _ = call(case, [moved, *inputs[1:]], state, True)
            ends.append(np.sum(y * dy))
        slope = (ends[0] - ends[1]) / (2 * size)
        expected = np.sum(dx * direction)
        assert abs(slope - expected) < 1e-5 * np.linalg.norm(dx), row["name"]


def check_local_context_gradient(case, arrays, row):
    """The program detaches the statistics: dx = dy gamma / sqrt(var+eps)."""
    x = np.moveaxis(arrays["x"], 1, -1)
    c = row["config"]
    _, variance = local_context_moments(
        x, np.ones(x.shape), c["window_size"], c["channels_per_group"], True
    )
    rate = case.weights["gamma"] / np.sqrt(variance + c["eps"])
    agree(arrays["dy"] * np.moveaxis(rate, -1, 1), arrays["dx"], row)


@pytest.mark.parametrize("row", golden_rows())
def test_golden(row):
    arrays = load(row)
    case = Case(row, arrays)
    if row["kind"] == "sequence":
        check_sequence(case, arrays, row)
        return
    inputs = [arrays[key] for key in case.inputs]
    y, state = call(case, inputs, case.state, True)
    agree(y, arrays["y"], row)
    for key, value in case.after.items():
        agree(state[key], value, row)
    if any(key.startswith("state_") for key in row["compare"]):
        assert case.after
    if "y_eval" in arrays:
        state = getattr(case, "evaluation_state", state)
        agree(call(case, inputs, state, False)[0], arrays["y_eval"], row)
    if row["method"] == "PositionalNormalization":
        config = {**case.config, "return_moments": True}
        _, mean, std = run(row["method"], inputs, config)
        agree(mean, arrays["mean"], row)
        agree(std, arrays["std"], row)
    if "dy" not in arrays:
        return
    if not case.detached:
        check_gradient(
            case, inputs, case.state, arrays["dy"], arrays["dx"], row
        )
    elif row["method"] == "LocalContextNormalization":
        check_local_context_gradient(case, arrays, row)


SEQUENCE_STATE = {
    "mean": "moving_mean",
    "var": "moving_variance",
    "step": "step",
}


def check_sequence(case, arrays, row):
    state = case.state
    steps = row["config"]["steps"]
    count = len(row["inputs"]) // steps
    for t in range(steps):
        names = row["inputs"][t * count : (t + 1) * count]
        inputs = [arrays[key] for key in names]
        before = state
        y, state = call(case, inputs, before, True)
        agree(y, arrays[f"y_{t}"], row)
        compared = 0
        for key in row["compare"]:
            if key.startswith("state_") and key.endswith(f"_{t}"):
                name = key.removeprefix("state_").removesuffix(f"_{t}")
                name = SEQUENCE_STATE.get(name, name)
                agree(state[name], arrays[key], row)
                compared += 1
        assert compared == len(state)
        dy, dx = arrays[f"dy_{t}"], arrays[f"dx_{t}"]
        if row["method"] == "BatchRenormalization":
            check_renorm_gradient(case, inputs, before, dy, dx, row)
        else:
            check_gradient(case, inputs, before, dy, dx, row)
    if "y_eval" in row["compare"]:
        agree(call(case, inputs, state, False)[0], arrays["y_eval"], row)


def check_renorm_gradient(case, inputs, state, dy, dx, row):
    """r and d are constants: batch normalization with gamma r in front."""
    x = inputs[0]
    y, _ = call(case, inputs, state, True)
    axes = tuple(range(x.ndim - 1))
    epsilon = case.config["epsilon"]
    xhat = (x - x.mean(axes)) / np.sqrt(x.var(axes) + epsilon)
    # y is affine in xhat, channel by channel: slope and intercept.
    slope = (y - y.mean(axes)).std(axes) / xhat.std(axes)
    slope = slope * np.sign(case.weights["gamma"])
    plain = Case(row, load(row))
    plain.config = {"epsilon": epsilon}
    plain.weights = {"gamma": slope, "beta": y.mean(axes)}
    agree(call(plain, inputs, {}, True)[0], y, row)
    check_gradient(plain, inputs, {}, dy, dx, row)


def test_every_known_method_has_its_golden_rows():
    rows = [p.values[0] for p in golden_rows()]
    methods = {row["method"] for row in rows}
    without_vectors = {
        "VarianceOnlyLayerNormalization",
        "TLU",
        "ScaleOnlyBatchNormalization",
        "GeneralizedBatchNormalization",
        "UnitNormalization",
        "MeanNormalizedDense",
        "RunningMeanCentering",
        "WhitenedDense",
        "ComposedNormalization",
    }
    assert methods | without_vectors == {*HERE, *NAMES}
    assert len(rows) >= 25
