"""The reference implementations of the chapters mixture and domain: golden.

NumPy only, float64, to 1e-9: outputs, state and gradients against what the
authors' programs compute.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from oracles import GRADIENTS
from oracles import ORACLES
from oracles.calls import slope
from oracles.mixtures import sparsestmax

pytestmark = pytest.mark.once

DATA = Path(__file__).parent / "golden" / "data"
AFFINE = {"weight": "gamma", "bias": "beta"}
GATED = {"rho": "gate", "gamma": "gamma", "beta": "beta"}
LOGITS = {"mean_weight": "mean_weight", "var_weight": "variance_weight"}
RUNNING = {"running_mean": "moving_mean", "running_var": "moving_variance"}
MOVING = {"momentum": 0.9, "unbiased_moving_variance": True}


class Row:
    """A golden row in the terms of a layer.

    `parameters`, `state`: {names in the row: ours}; several names are stacked
    in new rows, or joined where `joined`. Those of the parameters begin with
    "param_" and "grad_", those of the state with "state0_" and "state_".
    """

    def __init__(self, layer, config, parameters, state=(), **options):
        self.layer, self.config = layer, config
        self.parameters, self.state = parameters, dict(state)
        self.joined = options.get("joined", False)
        self.inputs = options.get("inputs", ("x",))
        self.further = options.get("further", [])
        self.given = options.get("given", {})

    def collect(self, arrays, prefix, names):
        found = {}
        for keys, name in names.items():
            keys = (keys,) if isinstance(keys, str) else keys
            parts = [arrays.get(prefix + key) for key in keys]
            present = next((p for p in parts if p is not None), None)
            if present is None:
                continue
            parts = [np.zeros_like(present) if p is None else p for p in parts]
            parts = [np.squeeze(p) for p in parts]
            if len(parts) == 1:
                found[name] = parts[0]
            elif self.joined:
                found[name] = np.concatenate(parts)
            else:
                found[name] = np.stack(parts)
        if "gate_kernel" in found:
            found["gate_kernel"] = found["gate_kernel"].T
        return found


def domains(pattern):
    return tuple(pattern.format(d) for d in range(2))


HALVES = ("running_{}_source", "running_{}_target")
ROWS = {
    "sparse_switchable_norm": Row(
        "SparseSwitchableNormalization",
        {"momentum": 0.997, "axis": 1},
        {**AFFINE, **LOGITS},
        RUNNING,
        given={"radius": 0.2},
    ),
    "batch_instance_norm": Row(
        "BatchInstanceNormalization",
        {**MOVING, "axis": 1},
        {**AFFINE, "gate": "gate"},
        RUNNING,
    ),
    "adalin": Row(
        "AdaptiveLayerInstanceNormalization",
        {"unbiased": True, "axis": 1},
        {"rho": "gate"},
        inputs=("x", "gamma", "beta"),
    ),
    "iln": Row(
        "LayerInstanceNormalization", {"unbiased": True, "axis": 1}, GATED
    ),
    "tasknorm_i": Row(
        "TaskNormalization",
        {"axis": 1},
        {**AFFINE, "a": "slope", "b": "offset"},
        {
            "context_mean": "context_mean",
            "context_var": "context_variance",
            "context_size": "context_size",
        },
    ),
    "ibn": Row(
        "InstanceBatchNormalization",
        {**MOVING, "axis": 1},
        {
            ("IN__weight", "BN__weight"): "gamma",
            ("IN__bias", "BN__bias"): "beta",
        },
        {f"BN__{key}": name for key, name in RUNNING.items()},
        joined=True,
    ),
    "batch_channel_norm": Row(
        "BatchChannelNormalization",
        {**MOVING, "groups": 4, "axis": 1},
        {
            "pbn__weight": "gamma",
            "pbn__bias": "beta",
            "weight": "group_gamma",
            "bias": "group_beta",
        },
        {f"pbn__{key}": name for key, name in RUNNING.items()},
    ),
    "dsbn": Row(
        "DomainSpecificBatchNormalization",
        {**MOVING, "axis": 1},
        {
            domains("bns__{}__weight"): "gamma",
            domains("bns__{}__bias"): "beta",
        },
        {domains("bns__{}__" + key): name for key, name in RUNNING.items()},
        further=[np.array(1)],
    ),
    **{
        name: Row(
            "TransferableNormalization",
            {**MOVING, "axis": axis},
            AFFINE,
            {
                tuple(h.format(part) for h in HALVES): f"moving_{ours}"
                for part, ours in (("mean", "mean"), ("var", "variance"))
            },
        )
        for name, axis in (("transnorm", 1), ("transnorm_1d", -1))
    },
}


def load(name):
    with np.load(DATA / f"{name}.npz") as file:
        return {key: file[key].astype("float64") for key in file.files}


def agree(actual, expected):
    scale = max(np.max(np.abs(expected)), 1e-30)
    actual = np.reshape(actual, np.shape(expected))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9 * scale)


def check_derivative(total, at, along, expected):
    """Of sum(y dy) along a direction through the inputs and the weights."""

    def moved(t):
        return total({key: at[key] + t * along[key] for key in at})

    np.testing.assert_allclose(slope(moved, 0.0, 1.0), expected, rtol=1e-5)


def check_row(row, arrays):
    """A training step, its gradients, and inference."""
    oracle = ORACLES[row.layer]
    inputs = [arrays[key] for key in row.inputs] + row.further
    weights = row.collect(arrays, "param_", row.parameters)
    state = row.collect(arrays, "state0_", row.state)
    expected_state = row.collect(arrays, "state_", row.state)
    state = {**state, **row.given}
    y, new = oracle(inputs, row.config, weights, state, True)
    agree(y, arrays["y"])
    assert expected_state.keys() == dict.fromkeys(row.state.values()).keys()
    for key, value in expected_state.items():
        agree(new[key], value)
    if "y_eval" in arrays:
        y, _ = oracle(inputs, row.config, weights, new, False)
        agree(y, arrays["y_eval"])
    if "x2" in arrays:
        y, _ = oracle([arrays["x2"]], row.config, weights, new, False)
        agree(y, arrays["y2_eval"])
    gradients = row.collect(arrays, "grad_", row.parameters)
    dy, names = arrays["dy"], ["dx"] + [f"grad_{k}" for k in row.inputs[1:]]
    if row.layer in GRADIENTS:
        (dx, *_), found = GRADIENTS[row.layer](
            inputs, row.config, weights, state, dy
        )
        agree(dx, arrays["dx"])
        for key, value in gradients.items():
            agree(found[key], value)
        return
    count = len(row.inputs)
    at = {**dict(enumerate(inputs[:count])), **weights}
    found = {**{i: arrays[key] for i, key in enumerate(names)}, **gradients}
    assert found.keys() == at.keys()
    rng = np.random.default_rng(3)
    along = {key: rng.normal(size=np.shape(at[key])) for key in at}

    def total(at):
        given = [at[i] for i in range(count)] + row.further
        own = {key: at[key] for key in weights}
        return np.sum(dy * oracle(given, row.config, own, state, True)[0])

    expected = sum(np.sum(found[key] * along[key]) for key in at)
    check_derivative(total, at, along, expected)


@pytest.mark.parametrize("name", ROWS)
def test_golden(name):
    check_row(ROWS[name], load(name))


def test_golden_modes():
    """The program keeps E[x^2] where the layer keeps the variance."""
    arrays = load("mode_norm")
    for prefix in ("state0_", "state_"):
        first, second = (arrays[prefix + key] for key in ("x_ra", "x2_ra"))
        arrays[prefix + "variance"] = second - first**2
    parameters = {
        "alpha": "gamma",
        "beta": "beta",
        "W__weight": "gate_kernel",
        "W__bias": "gate_bias",
    }
    state = {"x_ra": "moving_mean", "variance": "moving_variance"}
    config = {"axis": 1}
    check_row(Row("ModeNormalization", config, parameters, state), arrays)


def test_golden_sparsestmax():
    """To the float32 in which the program counts."""
    arrays = load("sparsestmax")
    rows = zip(arrays["x"], arrays["radius"], arrays["y"], strict=True)
    for x, radius, y in rows:
        np.testing.assert_allclose(sparsestmax(x, radius), y, atol=1e-7)
    rng = np.random.default_rng(0)
    for x, radius, dy, dx in zip(
        *(arrays[key] for key in ("x", "radius", "dy", "dx")), strict=True
    ):
        along = rng.normal(size=3)
        found = slope(
            lambda z, r=radius, dy=dy: np.sum(dy * sparsestmax(z, r)), x, along
        )
        np.testing.assert_allclose(found, np.sum(dx * along), atol=1e-6)


def test_every_row_is_here():
    with open(DATA / "manifest.jsonl", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    layers = {row.layer for row in ROWS.values()} | {"ModeNormalization"}
    names = {row["name"] for row in rows if row["method"] in layers}
    assert names == {*ROWS, "mode_norm"}
