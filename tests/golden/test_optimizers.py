"""Optimizers against what the authors' own programs compute.

Driven by the fields of the manifest, as `test_golden`: parameter J starts as
`param_J`, the update of step T (from 0) has the gradient `grad_J_stepT`, and
`param_J_stepT` is the value after T updates.
"""

import re

import keras
import numpy as np
import pytest

from golden import rows
from golden.adapters.optimizers import FORMULAS
from golden.adapters.optimizers import OPTIMIZERS
from golden.adapters.optimizers import clip_all
from golden.tolerance import error
from golden.tolerance import tolerance
from oracles import optimizers as oracle

ROWS = [
    row
    for row in rows.read_all()
    if row.kind == "optimizer" and row.method in OPTIMIZERS
]
# Only TensorFlow keeps float64 in all of keras.ops.
FLOAT64 = keras.backend.backend() == "tensorflow"
DTYPES = ["float32", "float64"] if FLOAT64 else ["float32"]
# Of formulas in float64 against programs in float64.
REFERENCE = 1e-9
GRADIENT = re.compile(r"grad_(\d+)_step(\d+)$")


def order(row, array):
    """Permutation of the axes of a parameter that gives Keras' layout."""
    rank = array.ndim
    if row.layout != "rows" or rank < 2:
        return tuple(range(rank))
    return (*range(2, rank), 1, 0)


def run(row, optimizer, dtype):
    """{array: value} after the updates, in the row's layout."""
    variables, found, steps = {}, {}, {}
    for name in row.parameters:
        array = row.arrays[name]
        variables[name] = keras.Variable(
            array.transpose(order(row, array)),
            dtype=dtype,
            name="kernel" if array.ndim > 1 else "bias",
        )
    for name in row.inputs:
        number, step = map(int, GRADIENT.match(name).groups())
        steps.setdefault(step, {})[f"param_{number}"] = row.arrays[name]
    optimizer.build(list(variables.values()))
    for name, variable in variables.items():
        # As stored, whatever the optimizer has put it on.
        array = row.arrays[name]
        variable.assign(array.transpose(order(row, array)).astype(dtype))
    for step, gradients in sorted(steps.items()):
        optimizer.apply(
            [
                keras.ops.convert_to_tensor(
                    g.transpose(order(row, g)).astype(dtype)
                )
                for g in map(gradients.get, variables)
            ],
            list(variables.values()),
        )
        for name, variable in variables.items():
            w = keras.ops.convert_to_numpy(variable)
            back = np.argsort(order(row, w))
            found[f"{name}_step{step + 1}"] = w.transpose(back)
    last = found[f"param_0_step{max(steps) + 1}"]
    m = last.reshape(len(last), -1).astype("float64")
    if last.ndim > 1:
        found["orth_err"] = np.linalg.norm(m @ m.T - np.eye(len(m)))
    return found


def failures(row, found, compare, dtype):
    """A line for every array that is not near enough."""
    lines = []
    length = max(row.arrays[name].size for name in row.inputs)
    for name in compare:
        if name not in found:
            lines.append(f"{name}: the adapter gives no such array")
            continue
        wrong = error(found[name], row.arrays[name])
        allowed = tolerance(row.tolerance_kind, row.dtype, length, dtype)
        if name == "orth_err":
            # A difference from 1, relative to 1.
            wrong *= abs(float(row.arrays[name]))
        # Not `wrong > allowed`: NaN is wrong too.
        if not wrong <= allowed:
            lines.append(f"{name}: {wrong:.1e} > {allowed:.1e}")
    return lines


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_optimizer(row, dtype):
    found = run(row, OPTIMIZERS[row.method](row), dtype)
    assert not failures(row, found, row.compare, dtype)


def row_of(method):
    """The first row of a method."""
    return next(row for row in ROWS if row.method == method)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cayley_sgd_without_momentum_meets_every_step(dtype):
    # The program loses its momentum after each step, see the row's quirk.
    row = row_of("optimizers.CayleySGD")
    found = run(row, OPTIMIZERS[row.method](row, momentum=0.0), dtype)
    compare = [n for n in row.arrays if n.startswith("param_0_step")]
    assert len(compare) == 3
    assert not failures(row, found, [*compare, "orth_err"], dtype)


@pytest.mark.parametrize(
    "method, change",
    [
        ("optimizers.CayleySGD", {"cayley_steps": 4}),
        ("optimizers.CayleyAdam", {"beta_2": 0.9}),
        ("optimizers.CayleySGD", {"q": 0.2}),
        ("optimizers.centralize", {"l2": 0.0}),
        ("optimizers.adaptive_clip", {"clipping": 0.02}),
        ("optimizers.LARS", {"denominator": "sum"}),
        ("optimizers.LARS", {"exclude_from_decay": None}),
        ("optimizers.LAMB", {"decay": 0.0}),
    ],
)
def test_a_wrong_optimizer_fails(method, change):
    row = row_of(method)
    found = run(row, OPTIMIZERS[method](row, **change), "float32")
    assert failures(row, found, row.compare, "float32")


@pytest.mark.once
@pytest.mark.parametrize(
    "row", [r for r in ROWS if r.method in FORMULAS], ids=repr
)
def test_the_reference_formulas_of_gradients(row):
    weights = {name: row.arrays[name] for name in row.parameters}
    steps = {}
    for name, w in weights.items():
        outputs = 0 if row.layout == "rows" else w.ndim - 1
        reduced = tuple(a for a in range(w.ndim) if a != outputs)
        steps[name] = FORMULAS[row.method](row, reduced)
    for step in range(len(row.inputs) // len(weights)):
        names = [f"grad_{i}_step{step}" for i in range(len(weights))]
        given = clip_all(row, [row.arrays[name] for name in names])
        for (name, w), g in zip(weights.items(), given, strict=True):
            weights[name] = steps[name].step(w, g)
            expected = row.arrays[f"{name}_step{step + 1}"]
            assert error(weights[name], expected) <= REFERENCE


@pytest.mark.once
@pytest.mark.parametrize(
    "row", [r for r in ROWS if r.method not in FORMULAS], ids=repr
)
def test_the_reference_formulas(row):
    config = row.config
    if row.method == "optimizers.CayleySGD":
        # Without the momentum that the program loses.
        reference = oracle.CayleySGD(config["lr"], q=config["q"])
    else:
        reference = oracle.CayleyAdam(
            config["lr"], config["momentum"], config["beta2"], q=config["q"]
        )
    reference.steps = config["iterations"]
    x = row.arrays["param_0"]
    shape, x = x.shape, x.reshape(len(x), -1).T
    for step in range(len(row.inputs)):
        g = row.arrays[f"grad_0_step{step}"].reshape(len(x.T), -1).T
        x = reference.step(x, g)
        expected = row.arrays[f"param_0_step{step + 1}"]
        assert error(x.T.reshape(shape), expected) <= REFERENCE
