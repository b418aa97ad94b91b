"""The reference implementations of chapter statistics: golden vectors.

NumPy only, float64, to 1e-9: outputs, gradients and state, also what a
backward pass keeps from step to step.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from oracles import ORACLES
from oracles import initial_state
from oracles.batch_parts import STOCHASTIC
from oracles.batch_parts import sampled_moments
from oracles.calls import gradient
from oracles.calls import run

pytestmark = pytest.mark.once

DATA = Path(__file__).parent / "golden" / "data"


class Golden:
    """The arrays of a row, compared relative to their largest entry."""

    def __init__(self, name):
        with open(DATA / "manifest.jsonl", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        (self.row,) = [row for row in rows if row["name"] == name]
        with np.load(DATA / f"{name}.npz") as file:
            self.arrays = {k: file[k].astype("float64") for k in file.files}
        self.compared = set()

    def __getitem__(self, name):
        return self.arrays[name]

    def agrees(self, name, value):
        expected = np.ravel(self.arrays[name])
        np.testing.assert_allclose(
            np.ravel(value),
            expected,
            rtol=0,
            atol=1e-9 * max(np.max(np.abs(expected)), 1e-30),
            err_msg=name,
        )
        self.compared.add(name)

    def complete(self, without=()):
        assert self.compared >= {*self.row["compare"]} - {*without}


def sequence(golden, name, config, weights, state, names, of_state):
    """All steps of a row with one input `x` and own state of the gradient.

    Args:
        weights: {weight: array of the row, or its initial value}.
        names: {weight: suffix of the gradient in the row}.
        of_state: {array of the row: state or weight}.
    """
    steps = golden.row["config"]["steps"]
    for t in range(steps):
        x, dy = golden[f"x_{t}"], golden[f"dy_{t}"]
        y, new = run(name, x, config, state, w=weights)
        (dx,), found = gradient(name, x, dy, config, state, w=weights)
        golden.agrees(f"y_{t}", y)
        golden.agrees(f"dx_{t}", dx)
        for weight, stem in names.items():
            golden.agrees(f"grad_{stem}_{t}", found[weight])
        kept = found.keys() - names.keys()
        weights = {**weights, **{k: found[k] for k in kept}}
        state = new
        for stem, key in of_state.items():
            golden.agrees(f"state_{stem}_{t}", {**state, **weights}[key])
    y, _ = run(name, x, config, state, training=False, w=weights)
    golden.agrees("y_eval", y)


TORCH = {"gamma": "weight", "beta": "bias"}


def test_golden_renormalization():
    golden = Golden("batch_renorm")
    c = golden.row["config"]
    config = {
        # The program keeps 1 - float32(1 - momentum).
        "momentum": 1 - float(np.float32(1 - c["momentum"])),
        "epsilon": c["eps"],
        "rmax": c["renorm_clipping"]["rmax"],
        "dmax": c["renorm_clipping"]["dmax"],
    }
    assert c["renorm_clipping"]["rmin"] == 1 / config["rmax"]
    weights = {"gamma": golden["param_gamma"], "beta": golden["param_beta"]}
    keys = ("moving_mean", "moving_stddev")
    state = {key: golden[f"state0_{key}"] for key in keys}
    of_state = {key: key for key in keys}
    of_state |= {
        "renorm_mean": "moving_mean",
        "renorm_stddev": "moving_stddev",
    }
    same = {"gamma": "gamma", "beta": "beta"}
    name = "BatchRenormalization"
    sequence(golden, name, config, weights, state, same, of_state)
    # A function of moving_stddev.
    golden.complete([f"state_moving_variance_{t}" for t in range(3)])


def test_golden_online():
    golden = Golden("online_norm")
    c = golden.row["config"]
    assert c["ecm"] == "ls" and c["ls_eps"] == 1e-5
    config = {
        "alpha_forward": c["alpha_fwd"],
        "alpha_backward": c["alpha_bkw"],
        "epsilon": c["eps"],
        "axis": 1,
    }
    weights = {"gamma": golden["param_weight"], "beta": golden["param_bias"]}
    of_state = {
        "mean": "moving_mean",
        "var": "moving_variance",
        "u": "mean_control",
        "v": "output_control",
    }
    name = "OnlineNormalization"
    sequence(golden, name, config, weights, {}, TORCH, of_state)
    golden.complete()


def test_golden_moving_average():
    golden = Golden("mabn")
    c = golden.row["config"]
    config = {
        "buffer_size": c["real_B"] // c["B"],
        "momentum": c["momentum"],
        "warmup_steps": c["warmup_iters"],
        "epsilon": c["eps"],
        "axis": 1,
    }
    weights = {
        "gamma": golden["param_weight"],
        "beta": golden["param_bias"],
        "products": golden["state0_buffer_gz"],
    }
    state = {
        "moving_second_moment": np.ravel(golden["state0_running_var"]),
        "second_moments": golden["state0_buffer_x2"],
        "step": golden["state0_iters"][0],
    }
    of_state = {
        "running_var": "moving_second_moment",
        "iters": "step",
        "buffer_x2": "second_moments",
        "buffer_gz": "products",
    }
    name = "MovingAverageBatchNormalization"
    sequence(golden, name, config, weights, state, TORCH, of_state)
    golden.complete()


@pytest.mark.parametrize("row", ["powernorm", "powernorm_masked"])
def test_golden_power(row):
    golden = Golden(row)
    c = golden.row["config"]
    config = {
        "groups": c["group_num"],
        "alpha_forward": c["alpha_fwd"],
        "alpha_backward": c["alpha_bkw"],
        "warmup_steps": c["warmup_iters"],
        "epsilon": c["eps"],
    }
    weights = {
        "gamma": golden["param_gamma"],
        "beta": golden["param_beta"],
        "mean_product": np.ravel(golden["state0_ema_gz"]),
    }
    state = {
        "moving_second_moment": np.ravel(golden["state0_running_phi"]),
        "step": c["iters_before"],
    }
    mask = None if row == "powernorm" else 1 - golden["mask"]
    x, dy = (np.swapaxes(golden[key], 0, 1) for key in ("x", "dy"))
    name = "PowerNormalization"
    y, new = run(name, x, config, state, mask=mask, w=weights)
    (dx,), found = gradient(name, x, dy, config, state, mask, weights)
    evaluated, _ = run(name, x, config, new, False, mask, weights)
    golden.agrees("y", np.swapaxes(y, 0, 1))
    golden.agrees("dx", np.swapaxes(dx, 0, 1))
    golden.agrees("y_eval", np.swapaxes(evaluated, 0, 1))
    golden.agrees("grad_gamma", found["gamma"])
    golden.agrees("grad_beta", found["beta"])
    golden.agrees("state_running_phi", new["moving_second_moment"])
    golden.agrees("state_ema_gz", found["mean_product"])
    golden.complete()


def test_golden_kalman():
    golden = Golden("kalman_norm")
    c = golden.row["config"]
    config = {"keep": c["p_rate"], "epsilon": c["epsilon"]}
    weights = {"gamma": golden["param_gamma"], "beta": golden["param_beta"]}
    inputs = [golden[key] for key in golden.row["inputs"]]
    name = "KalmanNormalization"
    outputs, _ = ORACLES[name](inputs, config, weights, {}, True)
    for key, value in zip(("y", "out_mean", "out_var"), outputs, strict=True):
        golden.agrees(key, value)
    found, of_weights = gradient(name, inputs, golden["dy"], config, w=weights)
    keys = ("dx", "grad_pre_mean", "grad_pre_var")
    for key, value in zip(keys, found, strict=True):
        golden.agrees(key, value)
    for key, value in of_weights.items():
        golden.agrees(f"grad_{key}", value)
    golden.complete()


def test_golden_cross_iteration():
    golden = Golden("cross_iteration_bn")
    c = golden.row["config"]
    config = {
        "window_size": c["buffer_num"] + 1,
        "burn_in": c["burnin"],
        "momentum": golden.row["keep_momentum"],
        "epsilon": c["eps"],
        "filters": 4,
        "kernel_size": 3,
        "use_bias": False,
        "data_format": "channels_first",
    }
    alone = {k: config[k] for k in ("window_size", "burn_in", "epsilon")}
    weights = {"gamma": golden["param_weight"], "beta": golden["param_bias"]}
    name, state, other = "CrossIterationConv2D", {}, {}
    for t in range(c["steps"]):
        x, dy = golden[f"x_{t}"], golden[f"dy_{t}"]
        weights["kernel"] = np.transpose(golden[f"W_{t}"], (2, 3, 1, 0))
        (dx,), found = gradient(name, x, dy, config, state, w=weights)
        y, state = run(name, x, config, state, w=weights)
        golden.agrees(f"y_{t}", y)
        golden.agrees(f"dx_{t}", dx)
        dw = np.transpose(found["kernel"], (3, 2, 0, 1))
        golden.agrees(f"dW_{t}", dw)
        golden.agrees(f"grad_weight_{t}", found["gamma"])
        golden.agrees(f"grad_bias_{t}", found["beta"])
        golden.agrees(f"state_running_mean_{t}", state["moving_mean"])
        golden.agrees(f"state_running_var_{t}", state["moving_variance"])
        # The same from what the convolution gives.
        y, other = run(
            "CrossIterationBatchNormalization",
            [golden[f"h_{t}"], x, weights["kernel"]],
            {**alone, "axis": 1},
            other,
            w=weights,
        )
        golden.agrees(f"y_{t}", y)
    y, _ = run(name, x, config, state, training=False, w=weights)
    golden.agrees("y_eval", y)
    golden.complete()


def test_golden_stochastic():
    golden = Golden("stochastic_bn")
    config = {"axis": 1, "epsilon": golden.row["config"]["eps"]}
    weights = {"gamma": golden["param_weight"], "beta": golden["param_bias"]}
    rows = ("running_m", "running_m2", "running_logvar", "running_logvar2")
    of_state = dict(zip(STOCHASTIC, rows, strict=True))
    state = {key: golden[f"state0_{row}"] for key, row in of_state.items()}
    name, x = "StochasticBatchNormalization", golden["x"]
    y, new = run(name, x, config, state, w=weights)
    golden.agrees("y", y)
    for key, row in of_state.items():
        golden.agrees(f"state_{row}", new[key])
    for strategy, key in (("moving", "y_running"), ("batch", "y_eval")):
        config["inference"] = strategy
        y, _ = run(name, x, config, new, training=False, w=weights)
        golden.agrees(key, y)
    draws = golden["noise_mean"], golden["noise_var"]
    mean, variance = sampled_moments(new, *draws)
    z = (np.moveaxis(x, 1, -1) - mean) / np.sqrt(variance + config["epsilon"])
    y = z * weights["gamma"] + weights["beta"]
    golden.agrees("y_sample", np.moveaxis(y, -1, 1))


def test_golden_switchable():
    golden = Golden("switchable_bn_slimmable")
    widths = golden.row["config"]["widths"]
    config = {"widths": widths, "axis": 1, "unbiased_moving_variance": True}
    table = np.zeros((len(widths), max(widths)))
    weights = {"gamma": table, "beta": table.copy()}
    for i, width in enumerate(widths):
        for key, values in weights.items():
            values[i, :width] = golden[f"param_{key}_{i}"]
    name, state = "SwitchableBatchNormalization", {}
    for i, width in enumerate(widths):
        x = golden[f"x_{i}"]
        state = state or initial_state(name, config, x.shape)
        y, state = run(name, x, config, state, w=weights)
        golden.agrees(f"y_{i}", y)
        golden.agrees(f"state_mean_{i}", state["moving_mean"][i, :width])
        golden.agrees(f"state_var_{i}", state["moving_variance"][i, :width])
        y, _ = run(name, x, config, state, training=False, w=weights)
        golden.agrees(f"y_eval_{i}", y)
    golden.complete()
