"""The formulas themselves, against a published program's numbers."""

import pathlib

import numpy as np
import pytest

from functions import differences
from oracles.recurrent import batch_normalized_lstm
from oracles.recurrent import layer_normalized_lstm

pytestmark = pytest.mark.once
TESTS = pathlib.Path(__file__).parents[2]
GOLDEN = TESTS / "golden" / "data" / "bn_lstm.npz"
SITES = {"ih": "input", "hh": "recurrent", "c": "state"}
# Sums of some ten numbers of float64, through four time steps.
NEAR = 1e-12


def reordered(array):
    """Columns f, i, o, g as i, f, g, o."""
    f, i, o, g = np.split(array, 4, axis=-1)
    return np.concatenate([i, f, g, o], -1)


def test_recurrent_batch_normalization():
    """Program of Jihun Choi: gates f, i, o, g; betas repeat the bias."""
    with np.load(GOLDEN) as file:
        a = {name: file[name] for name in file.files}
    bias = a["param_bias"] + a["param_bn_ih.bias"] + a["param_bn_hh.bias"]
    weights = {
        "kernel": reordered(a["param_weight_ih"]),
        "recurrent_kernel": reordered(a["param_weight_hh"]),
        "bias": reordered(bias),
        "input_gamma": reordered(a["param_bn_ih.weight"]),
        "recurrent_gamma": reordered(a["param_bn_hh.weight"]),
        "state_gamma": a["param_bn_c.weight"],
        "state_beta": a["param_bn_c.bias"],
    }
    state, expected = {}, {}
    for theirs, ours in SITES.items():
        for kind, word in (("mean", "mean"), ("var", "variance")):
            rows = [
                a[f"state_bn_{theirs}_running_{kind}_{t}"] for t in range(4)
            ]
            rows = np.stack(rows)
            rows = rows if theirs == "c" else reordered(rows)
            start = np.zeros if kind == "mean" else np.ones
            state[f"{ours}_moving_{word}"] = start(rows.shape)
            expected[f"{ours}_moving_{word}"] = rows
    x, dy = (a[name].swapaxes(0, 1) for name in ("x", "dy"))
    options = {"initial_state": [a["h0"], a["c0"]], "unbiased": True}

    def outputs(x, kernel, recurrent_kernel, gamma):
        w = {**weights, "kernel": kernel, "recurrent_kernel": recurrent_kernel}
        w["state_gamma"] = gamma
        return batch_normalized_lstm(x, w, state, True, **options)[0]

    y, _, moving = batch_normalized_lstm(x, weights, state, True, **options)
    np.testing.assert_allclose(y, a["y"].swapaxes(0, 1), atol=NEAR)
    for name, value in moving.items():
        np.testing.assert_allclose(value, expected[name], atol=NEAR)
    y, _, _ = batch_normalized_lstm(x, weights, moving, False, **options)
    np.testing.assert_allclose(y, a["y_eval"].swapaxes(0, 1), atol=NEAR)
    names = ("kernel", "recurrent_kernel", "state_gamma")
    found = differences(outputs, [x, *(weights[n] for n in names)], dy)
    program = [
        a["dx"].swapaxes(0, 1),
        reordered(a["grad_weight_ih"]),
        reordered(a["grad_weight_hh"]),
        a["grad_bn_c.weight"],
    ]
    for g, e in zip(found, program, strict=True):
        # Differences of step 1e-6 lose ten digits, and a little more.
        np.testing.assert_allclose(g, e, atol=1e-7 * max(1, np.abs(e).max()))


@pytest.mark.parametrize(
    "placement, norm_per_gate", [("separate", False), ("sum", True)]
)
def test_layer_normalized_step_by_hand(placement, norm_per_gate):
    """One step of two units, written out number by number."""
    random = np.random.default_rng(3)
    w, u, b = (random.normal(size=s) for s in ((1, 8), (2, 8), 8))
    x, h, c = (random.normal(size=s) for s in (1, 2, 2))
    gamma, a = random.normal(size=(3, 8)), random.normal(size=(2, 2))

    def ln(numbers):
        mean = sum(numbers) / len(numbers)
        square = sum((n - mean) ** 2 for n in numbers) / len(numbers)
        return [(n - mean) / (square + 1e-5) ** 0.5 for n in numbers]

    of_x = [x[0] * w[0, k] for k in range(8)]
    of_h = [h[0] * u[0, k] + h[1] * u[1, k] for k in range(8)]
    if placement == "separate":
        pairs = zip(ln(of_x), ln(of_h), gamma[0], gamma[1], b, strict=True)
        z = [p * s + q * t + bias for p, q, s, t, bias in pairs]
    else:
        total = [p + q for p, q in zip(of_x, of_h, strict=True)]
        gates = [n for k in range(0, 8, 2) for n in ln(total[k : k + 2])]
        z = [n * s + o for n, s, o in zip(gates, gamma[2], b, strict=True)]

    def s(z):
        return 1 / (1 + np.exp(-z))

    new = [s(z[2 + k]) * c[k] + s(z[k]) * np.tanh(z[4 + k]) for k in (0, 1)]
    told = [n * a[0, k] + a[1, k] for k, n in enumerate(ln(new))]
    out = [s(z[6 + k]) * np.tanh(told[k]) for k in (0, 1)]
    weights = {
        "kernel": w,
        "recurrent_kernel": u,
        "bias": b,
        "input_gamma": gamma[0],
        "recurrent_gamma": gamma[1],
        "gates_gamma": gamma[2],
        "state_gamma": a[0],
        "state_beta": a[1],
    }
    for normalize_carry, carry in ((False, new), (True, told)):
        y, (_, kept) = layer_normalized_lstm(
            x[None, None],
            weights,
            initial_state=[h[None], c[None]],
            placement=placement,
            norm_per_gate=norm_per_gate,
            normalize_carry=normalize_carry,
        )
        np.testing.assert_allclose(y[0, 0], out, atol=NEAR)
        np.testing.assert_allclose(kept[0], carry, atol=NEAR)
