"""The reference implementations of chapter recovery and of regions.

NumPy only, float64: golden vectors to 1e-9, identities that hold by the
formulas, masks against cut-out data, the two gradients of their own.
"""

import json

import numpy as np
import pytest

from oracles import GRADIENTS
from oracles import ORACLES
from oracles import initial_state
from oracles import weight_shapes
from oracles.calls import gradient
from oracles.calls import random
from oracles.calls import run
from oracles.calls import slope
from oracles.modulation import diversity_loss
from oracles.recovery_shapes import NAMES
from oracles.spatial import linear
from oracles.spatial import nearest
from oracles.spatial import orthogonal_loss
from test_statistics_oracles import DATA
from test_statistics_oracles import Golden

pytestmark = pytest.mark.once

SHAPE = (4, 5, 6, 4)
X = random(*SHAPE)


def close(a, b, rtol=1e-10, atol=1e-10):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def output(name, inputs, config=None, w=None, **kwargs):
    """The output of one call alone."""
    return run(name, inputs, config, w=w, **kwargs)[0]


# Golden vectors --------------------------------------------------------------


def moving(golden, stem, moment, prefix=""):
    """State of a program in our names."""
    return {
        f"{prefix}moving_{key}": golden[f"{moment}_{stem}running_{suffix}"]
        for key, suffix in (("mean", "mean"), ("variance", "var"))
    }


def with_state(golden, name, inputs, config, weights, stems):
    """y, the state after one step, y_eval. stems: {stem: prefix}."""
    before, after = {}, {}
    for stem, prefix in stems.items():
        before |= moving(golden, stem, "state0", prefix)
        after |= moving(golden, stem, "state", prefix)
    # The programs store the variance divided by m - 1.
    config = {**config, "unbiased_moving_variance": True}
    y, new = run(name, inputs, config, before, w=weights)
    golden.agrees("y", y)
    assert new.keys() == after.keys()
    for key, value in after.items():
        close(new[key], value)
    y, _ = run(name, inputs, config, new, training=False, w=weights)
    golden.agrees("y_eval", y)


def hwio(kernel):
    return np.transpose(kernel, (2, 3, 1, 0))


def test_golden_ada():
    golden = Golden("adanorm")
    config = {"epsilon": golden.row["config"]["eps"]}
    golden.agrees("y", output("AdaNormalization", golden["x"], config))
    (dx,), found = gradient(
        "AdaNormalization", golden["x"], golden["dy"], config
    )
    golden.agrees("dx", dx)
    assert not found
    golden.complete()


@pytest.mark.parametrize("row", ["ilm_norm_gn", "ilm_norm_in", "ilm_norm_ln"])
def test_golden_meta(row):
    golden = Golden(row)
    c = golden.row["config"]
    config = {
        "area": c["base"],
        "groups": c["num_groups"],
        "key_group_size": c["key_group_size"],
        "reduction": c["reduction"],
        "axis": 1,
    }
    weights = {
        "gamma": np.ravel(golden["param_weight_bias"]),
        "beta": np.ravel(golden["param_bias_bias"]),
        "embedding_kernel": golden["param_fc_embed__0__weight"].T,
        "gamma_kernel": golden["param_fc_weight__1__weight"].T,
        "beta_kernel": golden["param_fc_bias__1__weight"].T,
    }
    name, x = "InstanceLevelMetaNormalization", golden["x"]
    shapes = weight_shapes(name, config, [x.shape])
    assert shapes == {key: w.shape for key, w in weights.items()}
    golden.agrees("y", output(name, x, config, weights))


def test_golden_enhancement():
    golden = Golden("iebn")
    names = {
        "gamma": "weight",
        "beta": "bias",
        "enhancement_weight": "weight_readjust",
        "enhancement_bias": "bias_readjust",
    }
    weights = {k: np.ravel(golden[f"param_{v}"]) for k, v in names.items()}
    x = golden["x"]
    name = "InstanceEnhancementBatchNormalization"
    with_state(golden, name, x, {"axis": 1}, weights, {"": ""})


@pytest.mark.parametrize("row", ["attentive_norm_bn", "attentive_norm_gn"])
def test_golden_attentive(row):
    golden = Golden(row)
    c = golden.row["config"]
    config = {
        "num_mixtures": c["K"],
        "area": c["normalization"],
        "groups": c.get("groups", 32),
        "attention_activation": c["attention_activation"],
        "attention_normalization": c["attention_norm"],
        "epsilon": c["eps"],
        "axis": 1,
    }
    stem = "attention_weights__attention__"
    weights = {
        "gamma": golden["param_weight_"],
        "beta": golden["param_bias_"],
        "attention_kernel": golden[f"param_{stem}0__weight"][:, :, 0, 0].T,
    }
    name, x = "AttentiveNormalization", golden["x"]
    if c["attention_norm"] is None:
        weights["attention_bias"] = golden[f"param_{stem}0__bias"]
        y, new = run(name, x, config, w=weights)
        golden.agrees("y", y)
        assert new == {}
    else:
        weights["attention_gamma"] = golden[f"param_{stem}1__weight"]
        weights["attention_beta"] = golden[f"param_{stem}1__bias"]
        stems = {"": "", f"{stem}1__": "attention_"}
        with_state(golden, name, x, config, weights, stems)
    shapes = weight_shapes(name, config, [x.shape])
    assert shapes == {key: w.shape for key, w in weights.items()}


def test_golden_spatially_adaptive():
    golden = Golden("spade")
    c = golden.row["config"]
    config = {
        "hidden_filters": c["nhidden"],
        "kernel_size": c["kernel_size"],
        "axis": 1,
    }
    names = {"hidden": "shared__0", "gamma": "gamma", "beta": "beta"}
    weights = {}
    for key, theirs in names.items():
        kernel = golden[f"param_mlp_{theirs}__weight"]
        weights[f"{key}_kernel"] = hwio(kernel)
        weights[f"{key}_bias"] = golden[f"param_mlp_{theirs}__bias"]
    x, cond = golden["x"], golden["cond"]
    name, stems = "SpatiallyAdaptiveNormalization", {"param_free_norm__": ""}
    with_state(golden, name, [x, cond], config, weights, stems)
    shapes = weight_shapes(name, config, [x.shape, cond.shape])
    assert shapes == {key: w.shape for key, w in weights.items()}


def test_golden_regions():
    golden = Golden("region_norm_basic")
    weights = {
        key: np.stack(
            [golden[f"param_{r}ground_{key}"] for r in ("fore", "back")]
        )
        for key in ("gamma", "beta")
    }
    inputs = [golden["x"], golden["mask"]]
    y = output("RegionNormalization", inputs, {"axis": 1}, weights)
    golden.agrees("y", y)


def test_golden_learnable_regions():
    golden = Golden("region_norm_learnable")
    c = golden.row["config"]
    config = {
        "threshold": c["threshold"],
        "kernel_size": c["kernel"],
        "axis": 1,
    }
    names = {
        "region_kernel": "conv1__weight",
        "gamma_kernel": "gamma_conv__weight",
        "gamma_bias": "gamma_conv__bias",
        "beta_kernel": "beta_conv__weight",
        "beta_bias": "beta_conv__bias",
    }
    weights = {}
    for key, theirs in names.items():
        value = golden[f"param_sa__{theirs}"]
        weights[key] = hwio(value) if value.ndim == 4 else value
    name, x = "LearnableRegionNormalization", golden["x"]
    shapes = weight_shapes(name, config, [x.shape])
    assert shapes == {key: w.shape for key, w in weights.items()}
    golden.agrees("y", output(name, x, config, weights))
    (dx,), found = gradient(name, x, golden["dy"], config, w=weights)
    golden.agrees("dx", dx)
    for key, theirs in names.items():
        value = found[key]
        if value.ndim == 4:
            value = np.transpose(value, (3, 2, 0, 1))
        golden.agrees(f"grad_sa__{theirs}", value)
    golden.complete()


def test_golden_semantic():
    golden = Golden("attentive_norm_layout")
    c = golden.row["config"]
    config = {
        "num_entities": c["nClass"],
        "temperature": c["kama"],
        "statistics": "program",
        "epsilon": c["eps"],
    }
    weights = {}
    for key in ("key", "query", "value"):
        weights[f"{key}_kernel"] = golden[f"param_{key}_kernel"][0, 0]
        weights[f"{key}_bias"] = golden[f"param_{key}_bias"]
    weights["entity_kernel"] = golden["param_mask_filters"][0, 0]
    weights["alpha"] = np.ravel(golden["param_alpha"])
    weights["gain"] = golden["param_sigma"][0]
    name, x = "SemanticAttentiveNormalization", golden["x"]
    shapes = weight_shapes(name, config, [x.shape])
    assert shapes == {key: w.shape for key, w in weights.items()}
    inputs = [x, golden["sampling_pos"]]
    golden.agrees("y", output(name, inputs, config, weights))
    # Not the program's: it takes neither squares nor absolute values.
    eye = np.eye(3)[:, :2]
    close(orthogonal_loss(eye), 0)
    close(orthogonal_loss(2 * eye), 2 * 9)


def test_every_golden_row_is_here():
    with open(DATA / "manifest.jsonl", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found = {row["name"] for row in rows if row["method"] in NAMES}
    assert found == {
        "adanorm",
        "ilm_norm_gn",
        "ilm_norm_in",
        "ilm_norm_ln",
        "iebn",
        "attentive_norm_bn",
        "attentive_norm_gn",
        "spade",
        "region_norm_basic",
        "region_norm_learnable",
        "attentive_norm_layout",
    }


# All layers: layout, masks, state --------------------------------------------

FEATURES = random(4, 3, seed=21)
MAP = random(4, 3, 2, 3, seed=22)
REGION = np.random.default_rng(23).uniform(size=(4, 5, 6)) > 0.4
SOFT = np.random.default_rng(24).dirichlet(np.ones(3), 4)
LABELS = np.array([2, 0, 1, 1])
ROWS = [
    ("ConditionalInstanceNormalization", {"num_classes": 3}, LABELS),
    ("ConditionalInstanceNormalization", {"num_classes": 3}, SOFT),
    ("DynamicLayerNormalization", {"summary_units": 3}, None),
    ("DynamicLayerNormalization", {"summary_units": 3}, FEATURES),
    ("SelfModulatedBatchNormalization", {"hidden_units": 5}, FEATURES),
    ("SelfModulatedBatchNormalization", {"hidden_units": 0}, FEATURES),
    *(
        (
            "InstanceLevelMetaNormalization",
            {"area": area, "groups": 2, "key_group_size": 2},
            None,
        )
        for area in ("group", "instance", "layer", "batch")
    ),
    ("SpatiallyAdaptiveNormalization", {"hidden_filters": 3}, MAP),
    (
        "SpatiallyAdaptiveNormalization",
        {"area": "layer", "hidden_filters": 3, "interpolation": "bilinear"},
        MAP,
    ),
    ("InstanceEnhancementBatchNormalization", {}, None),
    ("AttentiveNormalization", {"num_mixtures": 3}, None),
    (
        "AttentiveNormalization",
        {
            "area": "group",
            "groups": 2,
            "attention_activation": "softmax",
            "attention_normalization": "layer",
        },
        None,
    ),
    (
        "AttentiveNormalization",
        {
            "area": "instance",
            "attention_activation": "sigmoid",
            "attention_normalization": None,
        },
        None,
    ),
    ("DynamicInstanceNormalization", {}, FEATURES),
    (
        "DynamicInstanceNormalization",
        {"kernel_size": 3, "groups": 2, "hidden_units": 3},
        MAP,
    ),
    ("AdaptiveConvolutionNormalization", {}, FEATURES),
    ("AdaptiveConvolutionNormalization", {"depthwise": False}, MAP),
    ("SemanticAttentiveNormalization", {"num_entities": 3}, None),
    ("RegionNormalization", {}, REGION),
    ("RegionNormalization", {"area": "instance", "masked_beta": True}, REGION),
    ("LearnableRegionNormalization", {"threshold": 0.7}, None),
    ("LearnableRegionNormalization", {"area": "instance"}, None),
    ("AdaNormalization", {}, None),
]
NO_MASK = (
    "AdaNormalization",
    "AdaptiveConvolutionNormalization",
    "SemanticAttentiveNormalization",
)
MASKED = [row for row in ROWS if row[0] not in NO_MASK]


def case_id(value):
    if isinstance(value, dict):
        return "-".join(map(str, value.values()))
    return value if isinstance(value, str) else ""


def inputs_of(x, second):
    return [x] if second is None else [x, second]


def weights_of(name, config, inputs):
    shapes = weight_shapes(name, config, [np.shape(a) for a in inputs])
    return {
        key: 0.4 * random(*size, seed=31 + i)
        for i, (key, size) in enumerate(shapes.items())
    }


@pytest.mark.parametrize("name, config, second", ROWS, ids=case_id)
def test_channels_first_and_state(name, config, second):
    inputs = inputs_of(X, second)
    w = weights_of(name, config, inputs)
    y, state = run(name, inputs, config, w=w)
    assert y.shape == SHAPE and np.all(np.isfinite(y))
    assert state.keys() == initial_state(name, config, SHAPE).keys()
    moved = [np.moveaxis(a, -1, 1) if np.ndim(a) == 4 else a for a in inputs]
    first, same = run(name, moved, {**config, "axis": 1}, w=w)
    close(np.moveaxis(first, 1, -1), y)
    for key, value in state.items():
        close(same[key], value)
    # Inference does not move the state and does not see the batch.
    y, kept = run(name, inputs, config, state, training=False, w=w)
    for key, value in state.items():
        np.testing.assert_array_equal(kept[key], value)
    if state:
        half = [a[:2] for a in inputs]
        close(run(name, half, config, state, False, w=w)[0], y[:2])


@pytest.mark.parametrize("name, config, second", MASKED, ids=case_id)
def test_masked_is_cut_out(name, config, second):
    x = X.copy()
    # The last row of positions; a map of another size would need a cut too.
    x[:, -1] = np.nan
    mask = np.ones(SHAPE[:3])
    mask[:, -1] = 0
    spreads = name.startswith("Spatially")
    cut = np.ndim(second) == 3
    inputs = inputs_of(x, second)
    w = weights_of(name, config, inputs)
    masked, state = run(name, inputs, config, mask=mask, w=w)
    if not spreads:
        less = second[:, :-1] if cut else second
        y, expected = run(name, inputs_of(X[:, :-1], less), config, w=w)
        close(masked[:, :-1], y)
        for key, value in expected.items():
            close(state[key], value)
    # A whole sample, and the same by weights of 0 and 1.
    whole = np.arange(4) < 3
    inputs = inputs_of(X, second)
    masked, state = run(name, inputs, config, mask=whole, w=w)
    y, expected = run(name, [a[:3] for a in inputs], config, w=w)
    close(masked[:3], y)
    for key, value in expected.items():
        close(state[key], value)
    plain = output(name, inputs, config, w)
    close(output(name, inputs, config, w, mask=np.ones(SHAPE)), plain)


# A variance / (m - 1) of a sample of weight 2 has twice the entries.
BIASED = [
    row
    for row in MASKED
    if row[0]
    not in ("InstanceLevelMetaNormalization", "AttentiveNormalization")
]


@pytest.mark.parametrize("name, config, second", BIASED, ids=case_id)
def test_weight_two_is_twice_the_sample(name, config, second):
    inputs = inputs_of(X[:3], None if second is None else second[:3])
    w = weights_of(name, config, inputs)
    twice = [np.concatenate([a, a[-1:]]) for a in inputs]
    y, state = run(name, inputs, config, mask=np.array([1.0, 1, 2]), w=w)
    wanted, expected = run(name, twice, config, w=w)
    close(y, wanted[:3])
    for key, value in expected.items():
        close(state[key], value)


# Identities ------------------------------------------------------------------


def instance(x, epsilon=1e-5):
    """Instance normalization."""
    return output("InstanceNormalization", x, {"epsilon": epsilon})


def batch(x, epsilon=1e-5):
    """Batch normalization."""
    return output("BatchNormalization", x, {"epsilon": epsilon})


def test_ada():
    name, config = "AdaNormalization", {"k": 0.0, "epsilon": 0.0}
    root = np.sqrt(X.var(-1, ddof=1, keepdims=True))
    xhat = (X - X.mean(-1, keepdims=True)) / root
    close(output(name, X, config), xhat)
    config = {"multiplier": 2.0, "k": 0.3, "epsilon": 0.0}
    close(output(name, X, config), 2 * (xhat - 0.3 * xhat**2))
    config = {"k": 0.0, "axis": (1, 3), "unbiased": False, "epsilon": 0.0}
    layer = {"axis": (1, 3), "epsilon": 0.0}
    close(output(name, X, config), output("LayerNormalization", X, layer))


@pytest.mark.parametrize("axis", [-1, (1, 3)])
@pytest.mark.parametrize("unbiased", [True, False])
def test_ada_gradient_holds_the_factor(axis, unbiased):
    name = "AdaNormalization"
    config = {"axis": axis, "unbiased": unbiased, "epsilon": 0.1}
    upstream, direction = random(*SHAPE, seed=1), random(*SHAPE, seed=2)
    (dx,), _ = gradient(name, X, upstream, {**config, "k": 0.3})
    factor = 1 - 0.3 * output(name, X, {**config, "k": 0.0})

    def total(x):
        xhat = output(name, x, {**config, "k": 0.0})
        return np.sum(upstream * factor * xhat)

    close(slope(total, X, direction), np.sum(dx * direction), rtol=1e-7)
    (dx,), _ = gradient(name, np.ones(SHAPE), upstream, config)
    assert np.all(np.isfinite(dx))


def test_conditional_instance():
    name, config = "ConditionalInstanceNormalization", {"num_classes": 3}
    w = {"gamma": random(3, 4, seed=1), "beta": random(3, 4, seed=2)}
    y = output(name, [X, LABELS], config, w)
    close(output(name, [X, np.eye(3)[LABELS]], config, w), y)
    close(output(name, [X, LABELS[:, None]], config, w), y)
    table = {k: v[LABELS][:, None, None] for k, v in w.items()}
    close(y, instance(X) * table["gamma"] + table["beta"])
    close(output(name, [X, SOFT], config), instance(X))
    ends = [output(name, [X, np.full(4, c)], config, w) for c in range(3)]
    mixed = np.einsum("nk,knhwc->nhwc", SOFT, np.stack(ends))
    close(output(name, [X, SOFT], config, w), mixed)


def test_dynamic_layer():
    name, config = "DynamicLayerNormalization", {"summary_units": 3}
    w = weights_of(name, config, [X])
    layer = output("LayerNormalization", X, {"epsilon": 1e-5})
    close(
        output(name, X, config, {"summary_kernel": w["summary_kernel"]}), layer
    )
    a = np.tanh(X @ w["summary_kernel"] + w["summary_bias"]).mean((1, 2))
    gamma, beta = (
        (a @ w[f"{k}_kernel"] + w[f"{k}_bias"])[:, None, None]
        for k in ("gamma", "beta")
    )
    y = output(name, X, config, w)
    close(y, layer * gamma + beta)
    close(output(name, [X, X], config, w), y)
    mask = np.arange(5) < np.array([5, 3, 2, 4])[:, None]
    y = output(name, X, config, w, mask=mask)
    close(output(name, [X, X], config, w, mask=mask), y)
    close(output(name, [X, X], config, w, mask=[None, mask])[mask], y[mask])
    close(diversity_loss(np.array([[0.0, 1.0], [2.0, 1.0]])), -0.5)


def test_self_modulated():
    name, config = "SelfModulatedBatchNormalization", {"hidden_units": 5}
    inputs = [X, FEATURES]
    w = weights_of(name, config, inputs)
    zero = {k: 0 * v for k, v in w.items() if k.endswith("kernel")}
    close(output(name, inputs, config, zero), batch(X, 1e-3))
    h = np.maximum(FEATURES @ w["hidden_kernel"] + w["hidden_bias"], 0)
    direct = {k: v for k, v in w.items() if not k.startswith("hidden")}
    config = {"hidden_units": 0}
    close(
        output(name, [X, h], config, direct),
        output(name, inputs, {"hidden_units": 5}, w),
    )


def test_instance_level_meta():
    name = "InstanceLevelMetaNormalization"
    config = {"area": "instance", "key_group_size": 2}
    w = weights_of(name, config, [X])
    assert w["embedding_kernel"].shape == (2, 2)
    zero = {**w, "gamma_kernel": np.zeros((2, 2))}
    zero["beta_kernel"] = zero["gamma_kernel"]
    y = output(name, X, {**config, "unbiased": False}, zero)
    close(y, instance(X) * (w["gamma"] + 0.5) + w["beta"])
    # The key groups are neighbours: channels 0, 1 and 2, 3.
    keys = X.reshape(4, -1, 2, 2)
    e = np.maximum(keys.mean((1, 3)) @ w["embedding_kernel"], 0)
    beta = np.repeat(np.tanh(e @ w["beta_kernel"]), 2, axis=1)
    y = output(name, X, {**config, "scale": False}, w)
    close(y.mean((1, 2)), beta + w["beta"])
    sizes = {}
    for area in ("group", "instance"):
        options = {**config, "area": area, "reduction": 2}
        shapes = weight_shapes(name, options, [SHAPE])
        sizes[area] = shapes["embedding_kernel"]
    assert sizes == {"group": (2, 1), "instance": (2, 2)}


def test_instance_enhancement():
    name, w = "InstanceEnhancementBatchNormalization", {}
    close(output(name, X), batch(X) / (1 + np.e))
    w["enhancement_bias"] = np.full(4, 1e4)
    close(output(name, X, None, w), batch(X))


def test_attentive():
    name = "AttentiveNormalization"
    config = {
        "num_mixtures": 1,
        "attention_activation": "sigmoid",
        "attention_normalization": None,
    }
    w = weights_of(name, config, [X])
    w["attention_kernel"] *= 0
    w["attention_bias"] = np.array([1e4])
    y = output(name, X, config, w)
    close(y, batch(X) * w["gamma"] + w["beta"])
    config = {"num_mixtures": 3, "attention_activation": "softmax"}
    w = weights_of(name, config, [X])
    w["gamma"][:] = w["gamma"][0]
    w["beta"][:] = w["beta"][0]
    y = output(name, X, config, w)
    close(y, batch(X) * w["gamma"][0] + w["beta"][0])
    # One sample: the logits' normalization leaves their beta alone.
    config = {"num_mixtures": 3, "attention_activation": "sigmoid"}
    w = weights_of(name, config, [X])
    a = 1 / (1 + np.exp(-w["attention_beta"]))
    y = output(name, X[:1], config, w)
    close(y, batch(X[:1]) * (a @ w["gamma"]) + a @ w["beta"])


def test_sizes_of_maps():
    line = np.arange(12.0).reshape(1, 12, 1)
    close(nearest(line, (6,))[0, :, 0], [0, 2, 4, 6, 8, 10])
    close(nearest(line[:, :6], (4,))[0, :, 0], [0, 1, 3, 4])
    close(linear(line, (6,))[0, :, 0], np.arange(6) * 2 + 0.5)
    close(linear(line[:, :2], (4,))[0, :, 0], [0, 0.25, 0.75, 1])
    close(linear(MAP, (3, 2)), MAP)


def test_spatially_adaptive():
    name, config = "SpatiallyAdaptiveNormalization", {"hidden_filters": 3}
    w = weights_of(name, config, [X, MAP])
    zero = {**w}
    for key in ("gamma", "beta"):
        zero |= {f"{key}_{k}": 0 * w[f"{key}_{k}"] for k in ("kernel", "bias")}
    close(output(name, [X, MAP], config, zero), batch(X))
    zero["gamma_bias"] = zero["gamma_bias"] + 0.5
    close(output(name, [X, MAP], config, zero), 1.5 * batch(X))
    # A constant map: one gamma and beta for each sample, away from borders.
    constant = np.broadcast_to(FEATURES[:, None, None], (4, 7, 7, 3))
    y = output(name, [X, constant], config, w)[:, 2:-2, 2:-2]
    h = FEATURES @ w["hidden_kernel"].sum((0, 1)) + w["hidden_bias"]
    gamma, beta = (
        np.maximum(h, 0) @ w[f"{k}_kernel"].sum((0, 1)) + w[f"{k}_bias"]
        for k in ("gamma", "beta")
    )
    expected = batch(X)[:, 2:-2, 2:-2] * (1 + gamma[:, None, None])
    close(y, expected + beta[:, None, None])


def test_dynamic_instance():
    name = "DynamicInstanceNormalization"
    for config in ({}, {"kernel_size": 3}, {"kernel_size": 2, "groups": 1}):
        close(output(name, [X, FEATURES], config), instance(X))
    # Deviation and mean of a style as its vector: the adaptive one.
    style = random(4, 3, 2, 4, seed=5)
    deviation = np.sqrt(style.var((1, 2)) + 1e-5)
    vector = np.concatenate([deviation, style.mean((1, 2))], axis=1)
    eye, zero = np.eye(4), np.zeros((4, 4))
    w = {
        "filter_kernel": np.concatenate([eye, zero]),
        "filter_bias": np.zeros(4),
        "offset_kernel": np.concatenate([zero, eye]),
    }
    adaptive = output("AdaptiveInstanceNormalization", [X, style])
    close(output(name, [X, vector], {}, w), adaptive)
    # All channels from all: the transposed matrix of a sample.
    config = {"groups": 1}
    w = weights_of(name, config, [X, FEATURES])
    y = output(name, [X, FEATURES], config, w)
    matrix = FEATURES @ w["filter_kernel"] + w["filter_bias"]
    offset = FEATURES @ w["offset_kernel"] + w["offset_bias"]
    expected = np.einsum("nhwi,nio->nhwo", instance(X), matrix.reshape(4, 4, 4))
    close(y, expected + offset[:, None, None])
    # A map of one position is a vector.
    map_ = FEATURES[:, None, None]
    close(output(name, [X, map_], config, w), y)
    # Block-diagonal filters are groups; a column of 3 is a shift.
    config = {"groups": 2, "kernel_size": (3, 1)}
    width = np.zeros((3, 1, 2, 4))
    width[2, 0, [0, 1, 0, 1], [0, 1, 2, 3]] = 1.0
    y = output(name, [X, FEATURES], config, {"filter_bias": width.ravel()})
    close(y[:, :-1], instance(X)[:, 1:])
    close(y[:, -1], 0)


def test_adaptive_convolution():
    name = "AdaptiveConvolutionNormalization"
    # A point: local context normalization of single channels.
    config = {"window_size": 3, "channels_per_group": 1}
    local = output("LocalContextNormalization", X, config)
    close(output(name, [X, FEATURES]), local)
    close(output(name, [X, FEATURES], {"depthwise": False}), local)
    # Windows that reach everywhere: instance normalization.
    config = {"kernel_size": 13}
    close(output(name, [X, FEATURES], config), instance(X))
    # (conv(x, w) - mean sum(w)) / sqrt(var + eps), inside.
    config = {"depthwise": False}
    w = weights_of(name, config, [X, FEATURES])
    y = output(name, [X, FEATURES], config, w)
    filters = FEATURES @ w["filter_kernel"] + w["filter_bias"]
    filters = filters.reshape(4, 3, 3, 4, 4)
    offset = FEATURES @ w["offset_kernel"] + w["offset_bias"]
    window = X[:, 1:4, 2:5]
    root = np.sqrt(window.var((1, 2)) + 1e-5)
    convolved = np.einsum("nhwi,nhwio->nio", window, filters)
    centred = convolved - window.mean((1, 2))[..., None] * filters.sum((1, 2))
    expected = np.sum(centred / root[..., None], axis=1) + offset
    close(y[:, 2, 3], expected)


def test_semantic():
    name, config = "SemanticAttentiveNormalization", {"num_entities": 1}
    w = weights_of(name, config, [X])
    close(output(name, X, config, {**w, "gain": np.array(0.0)}), X)
    v = X @ w["value_kernel"] + w["value_bias"]
    expected = X + w["gain"] * instance(v, 0.0)
    close(output(name, X, config, w), expected, rtol=1e-6, atol=1e-6)
    config["num_entities"] = 3
    w = weights_of(name, config, [X])
    drawn = [X, np.array([3, 0, 29])]
    y = output(name, X, config, w)
    close(output(name, drawn, config, w, training=False), y)
    close(output(name, drawn, config, {**w, "alpha": np.full(3, -0.5)}), y)
    assert np.max(np.abs(output(name, drawn, config, w) - y)) > 1e-3


def test_regions():
    name = "RegionNormalization"
    w = weights_of(name, {}, [X, REGION])
    full = output(name, [X, np.ones(SHAPE[:3])], {}, w)
    expected = batch(X) * (1 + w["gamma"][0])
    expected = expected + w["beta"][0]
    close(full, expected + w["beta"][1])
    config = {"masked_beta": True}
    close(output(name, [X, np.ones(SHAPE[:3])], config, w), expected)
    close(
        output(name, [X, REGION[..., None]], {}, w),
        output(name, [X, REGION], {}, w),
    )
    # Inside a region: its own batch normalization with eps * NHW / S.
    y = output(name, [X, REGION])
    for region in (REGION, ~REGION):
        part = X[region]
        epsilon = 1e-5 * region.size / region.sum()
        close(y[region], batch(part, epsilon))
    # Of one sample: the same as of its instances.
    one = output(name, [X[:1], REGION[:1]])
    config = {"area": "instance"}
    close(output(name, [X, REGION], config)[:1], one)
    # Of another size: index floor(i in / out).
    large = np.repeat(np.repeat(REGION, 2, axis=1), 3, axis=2)
    close(output(name, [X, large]), y)


@pytest.mark.parametrize("area", ["batch", "instance"])
@pytest.mark.parametrize("rank", [0, 3, 4])
def test_learnable_region_gradient(area, rank):
    name = "LearnableRegionNormalization"
    config = {"area": area, "kernel_size": 3, "threshold": 0.5}
    w = weights_of(name, config, [X])
    rng = np.random.default_rng(6)
    mask = rng.uniform(0, 2, SHAPE[:rank]) if rank else None
    upstream = random(*SHAPE, seed=7)
    if rank:
        mask[mask < 0.6] = 0
        seen = np.broadcast_to(
            (mask > 0).reshape(mask.shape + (1,) * (4 - rank)), SHAPE
        )
        upstream = np.where(seen, upstream, 0)
    (dx,), found = GRADIENTS[name]([X], config, w, {}, upstream, mask)
    assert list(found) == list(w)
    along = {key: random(*v.shape, seed=8) for key, v in w.items()}
    direction = random(*SHAPE, seed=9)

    def total(step):
        moved = {k: v + step * along[k] for k, v in w.items()}
        inputs = [X + step * direction]
        y, _ = ORACLES[name](inputs, config, moved, {}, True, mask)
        return np.sum(upstream * y)

    expected = np.sum(dx * direction)
    expected += sum(np.sum(found[k] * along[k]) for k in w)
    close(slope(total, 0.0, 1.0, 1e-6), expected, rtol=1e-6)


def test_generated_parameters_in_one_input():
    name, config = "AdaptiveInstanceNormalization", {"variant": "generated"}
    gamma, beta = random(2, 4, 4, seed=3)
    y = output(name, [X, gamma, beta], config)
    both = np.concatenate([gamma, beta], axis=-1)
    close(output(name, [X, both], config), y)
