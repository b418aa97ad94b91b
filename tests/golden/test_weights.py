"""Weight parametrizations against what other programs compute.

Driven by the fields of the manifest, as `test_golden`.
"""

import keras
import numpy as np
import pytest

from golden import rows
from golden.adapters.weights import ADAPTERS
from golden.tolerance import error
from golden.weight_layers import StoredKernel
from golden.weights import WeightRun
from oracles import weights as oracle

ROWS = [row for row in rows.read_all() if row.kind == "weight"]
# Only TensorFlow keeps float64 in all of keras.ops.
FLOAT64 = keras.backend.backend() == "tensorflow"
DTYPES = ["float32", "float64"] if FLOAT64 else ["float32"]
# Of formulas in float64 against programs in float64.
REFERENCE = 1e-9
# Of one layer in float32, some ten to a hundred products for each result.
ROUNDING = 2e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_method(row, dtype):
    run = WeightRun(row, ADAPTERS[row.method](row), dtype)
    assert not run.run().failures()


def row_of(method):
    """The first row of a method."""
    return next(row for row in ROWS if row.method == method)


@pytest.mark.parametrize(
    "method, change, noticed",
    [
        ("WeightStandardization", {"unbiased": False}, {"y", "dx", "grad_w"}),
        ("WeightNormalization", {"epsilon": 1e3}, {"y", "grad_v", "w_eff"}),
        ("NewtonOrthogonalization", {"iterations": 3}, {"y", "grad_scale"}),
        ("SpectralNormalization", {"power_iterations": 3}, {"state_u"}),
    ],
)
def test_a_wrong_wrapper_fails(method, change, noticed):
    row = row_of(method)
    plan = ADAPTERS[method](row)
    plan.arguments |= change
    lines = WeightRun(row, plan).run().failures()
    assert noticed <= {line.split(":")[0] for line in lines}


def labels_of(row):
    """The axes of Keras' kernel by letters, see `oracles.weights`."""
    kernel = StoredKernel(row)
    letters = ["r"] * len(kernel.shape)
    own = -2 if kernel.layer == "conv_transpose" else -1
    axis = ADAPTERS[row.method](row).arguments.get("axis", own)
    if axis != ():
        letters[axis] = "o"
    return letters


def reference(row):
    """The effective kernel by the reference formulas, in Keras' order."""
    plan, kernel = ADAPTERS[row.method](row), StoredKernel(row)
    labels = labels_of(row)
    v = kernel.keras(row.arrays[kernel.name]).astype("float64")
    config = {n: a for n, a in plan.arguments.items() if n != "axis"}
    config.pop("scale", None)
    config.pop("trivialize", None)
    groups = config.pop("groups", None)
    if groups:
        config["group_size"] = v.shape[labels.index("o")] // groups
    if row.method == "OrthogonalParametrization":
        config["base"] = row.arrays.get("state_base")
    if row.method == "SpectralNormalization":
        (m,) = oracle.matrices(v, labels)
        return v / start_of(row, m)[0]
    w = oracle.effective(row.method, v, labels, **config)
    if plan.scale:
        units = [v.shape[a] for a in oracle.positions(labels, "o")]
        g = np.reshape(row.arrays[plan.scale], units)
        w = oracle.scaled(w, labels, g)
    return w


def start_of(row, m):
    """(sigma, u, v) of the recorded call."""
    if "state0_v" not in row.arrays:
        u = row.arrays["state0_u"].reshape(-1)
        return oracle.spectral_vectors(m, u, row.config["num_itrs"])
    v = StoredKernel(row).rows(row.arrays["state0_v"])
    steps = row.config["n_power_iterations"] - 1
    u = oracle.spectral_vectors(m, oracle.unit(m @ v), steps)[1]
    return oracle.spectral_vectors(m, u, 0)


@pytest.mark.once
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_the_reference_formulas(row):
    w, kernel = reference(row), StoredKernel(row)
    if not row.inputs:
        expected = kernel.keras(row.arrays["y"])
        assert error(w, expected) <= REFERENCE
        return
    if "w_eff" in row.arrays:
        expected = kernel.keras(row.arrays["w_eff"])
        assert error(w, expected) <= REFERENCE
    run = WeightRun(row, ADAPTERS[row.method](row))
    assert error(run.outputs_of(w), run.expected("y")) <= ROUNDING


@pytest.mark.once
@pytest.mark.parametrize(
    "row",
    [
        row
        for row in ROWS
        if row.method == "SpectralNormalization"
        and StoredKernel(row).layer == "dense"
    ],
    ids=repr,
)
def test_the_reference_gradient_of_spectral_normalization(row):
    m = row.arrays[StoredKernel(row).name]
    _, u, v = start_of(row, m)
    upstream = row.arrays["dy"].T @ row.arrays["x"]
    found = oracle.spectral_gradient(m, upstream, u, v)
    assert error(found, row.arrays["grad_w"]) <= REFERENCE
