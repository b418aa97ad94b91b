"""Functions of tensors against what the authors' own programs compute.

Driven by the fields of the manifest, as `test_golden`.
"""

import keras
import pytest

from golden import rows
from golden.adapters import resolve
from golden.adapters.functions import FUNCTIONS
from golden.tolerance import error
from golden.tolerance import tolerance

ROWS = [
    row
    for row in rows.read_all()
    if row.kind == "function"
    and row.method in FUNCTIONS
    and resolve(row.method) is not None
]
# Only TensorFlow keeps float64 in all of keras.ops.
FLOAT64 = keras.backend.backend() == "tensorflow"
DTYPES = ["float32", "float64"] if FLOAT64 else ["float32"]


def failures(row, dtype):
    """A line for every array that is not near enough."""
    found = FUNCTIONS[row.method](row, dtype)
    length = max(row.arrays[name].size for name in row.inputs)
    lines = []
    for name in row.compare:
        if name not in found:
            lines.append(f"{name}: the adapter gives no such array")
            continue
        wrong = error(found[name], row.arrays[name])
        allowed = tolerance(
            row.tolerance_kind,
            row.dtype,
            length,
            dtype,
            name.startswith(("dx", "grad_")),
        )
        # Not `wrong > allowed`: NaN is wrong too.
        if not wrong <= allowed:
            lines.append(f"{name}: {wrong:.1e} > {allowed:.1e}")
    return lines


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_function(row, dtype):
    assert not failures(row, dtype)


def test_a_wrong_function_fails():
    row = next(r for r in ROWS if r.name == "ortho_reg_biggan")
    row.config = {"strength": 2 * row.config["strength"]}
    # The gradient of a bias is 0 with any strength.
    assert len(failures(row, "float32")) == len(row.compare) - 2
