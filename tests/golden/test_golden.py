"""Every layer against what the authors' own programs compute.

Driven by the fields of the manifest: a further vector of a known method, in
this folder or in the one that KERAS_NORM_GOLDEN names, needs no new code.
"""

import keras
import numpy as np
import pytest

from golden import rows
from golden.adapters import ADAPTERS
from golden.adapters import CONTAINED
from golden.adapters import public_name
from golden.adapters import resolve
from golden.adapters.functions import FUNCTIONS
from golden.adapters.optimizers import OPTIMIZERS
from golden.adapters.weights import ADAPTERS as WEIGHTS
from golden.comparison import Comparison
from keras_norm import catalog

ROWS = rows.read_all()
LAYERS = ("single", "sequence")
# Only TensorFlow keeps float64 in all of keras.ops; there the formulas are
# checked to the accuracy of the vectors themselves.
FLOAT64 = keras.backend.backend() == "tensorflow"
DTYPES = ["float32", "float64"] if FLOAT64 else ["float32"]


def cases(adapters):
    """(row, its plan, an arrangement, a dtype) for all that can be run."""
    found = []
    for row in ROWS:
        if row.kind not in LAYERS or row.method not in adapters:
            continue
        plan = adapters[row.method](row).complete(row)
        if resolve(plan.layer) is not None:
            found += [
                pytest.param(row, plan, a, dtype, id=f"{row}-{a}-{dtype}")
                for a in plan.arrangements(row)
                for dtype in DTYPES
            ]
    return found


@pytest.mark.parametrize("row, plan, arrangement, dtype", cases(ADAPTERS))
def test_method(row, plan, arrangement, dtype):
    assert not Comparison(row, plan, arrangement, dtype).run().failures()


@pytest.mark.parametrize("row, plan, arrangement, dtype", cases(CONTAINED))
def test_method_inside_another_layer(row, plan, arrangement, dtype):
    assert not Comparison(row, plan, arrangement, dtype).run().failures()


@pytest.mark.once
@pytest.mark.parametrize("folder", rows.folders(), ids=lambda f: f.name)
def test_files_are_what_the_manifest_says(folder):
    manifest = rows.read(folder)
    names = sorted(row.name for row in manifest)
    assert names == sorted(path.stem for path in folder.glob("*.npz"))
    for row in manifest:
        shapes = {n: list(np.shape(a)) for n, a in row.arrays.items()}
        assert shapes == row.shapes, row
        named = {*row.parameters, *row.state, *row.inputs, *row.compare}
        assert named <= set(shapes), row


@pytest.mark.once
def test_every_row_is_implemented_or_planned():
    public = {n for m in catalog.METHODS for n in m.public_names}
    for row in ROWS:
        name = public_name(row.method)
        assert name in public, f"{row}: the catalog has no {name}"
        if row.kind == "weight" and row.method in WEIGHTS:
            continue  # test_weights.py
        if resolve(row.method) is None:
            continue
        if row.kind == "function":  # test_functions.py
            assert row.method in FUNCTIONS, f"{row}: {name} has no function"
            continue
        if row.kind == "optimizer":  # test_optimizers.py
            assert row.method in OPTIMIZERS, f"{row}: {name} has no adapter"
            continue
        assert row.kind in LAYERS, f"{row}: nothing checks a {row.kind}"
        assert row.method in ADAPTERS, f"{row}: {name} has no adapter"


def test_planned_methods_are_reported(record_property):
    waiting = [row for row in ROWS if resolve(row.method) is None]
    if waiting:
        methods = sorted({row.method for row in waiting})
        text = (
            f"{len(waiting)} of {len(ROWS)} golden vectors wait for methods "
            "that are planned"
        )
        record_property("summary", f"{text}: {', '.join(methods)}")
        pytest.skip(text)
