"""A SavedModel of all layers answers as Keras does, without keras_norm.

It is asked in Python, by `saved_model_cli` and through the C API, whose loader
is that of TensorFlow Serving.
Sizes of the batch and, where a layer does not need them, of the positions are
left open in the export and chosen by the caller.
"""

import sys
from pathlib import Path

import everything
import keras
import numpy as np
import processes
import pytest

# In one process of several (--dist loadgroup): they share one run.
pytestmark = pytest.mark.xdist_group("export")
JAX = keras.backend.backend() == "jax"
BATCHES = {1: (4, 3), 7: (5, 6)}


@pytest.fixture(scope="module", params=everything.TIERS)
def served(request, tmp_path_factory):
    """A SavedModel, questions and answers, and what Keras answers."""
    folder = tmp_path_factory.mktemp("export")
    # TensorFlow does not run the decompositions of a SavedModel from JAX.
    methods = [m for m in request.param if not (m.decomposes and JAX)]
    model = everything.make(methods, unknown=True)
    model.export(folder / "model", format="tf_saved_model", verbose=False)
    asked = {
        batch: everything.data(model, batch, sizes, seed=batch)
        for batch, sizes in BATCHES.items()
    }
    for batch, inputs in asked.items():
        np.savez(folder / f"inputs_{batch}.npz", **inputs)
    expected = {b: everything.answer(model, i) for b, i in asked.items()}
    # The first writes down the names that the second needs.
    for script in ("serve.py", "serve_c.py"):
        processes.finish(processes.start(script, folder, backend="tensorflow"))
    return methods, folder, expected


def answers(folder, kind, batch):
    """What one way of asking got."""
    return dict(np.load(folder / f"{kind}_{batch}.npz"))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("kind", ["outputs", "c"])
def test_saved_model_answers_as_keras_does(served, kind, batch):
    methods, folder, expected = served
    found = answers(folder, kind, batch)
    assert not everything.differences(expected[batch], found, methods)


def test_saved_model_cli_answers_as_keras_does(served):
    methods, folder, expected = served
    batch = max(BATCHES)
    names = np.load(folder / f"inputs_{batch}.npz").files
    given = (f"{n}={folder}/inputs_{batch}.npz[{n}]" for n in names)
    command = [
        Path(sys.executable).parent / "saved_model_cli",
        *("run", "--dir", folder / "model", "--tag_set", "serve"),
        *("--signature_def", "serving_default", "--inputs", ";".join(given)),
        *("--outdir", folder / "cli"),
    ]
    processes.finish(processes.run(command, "tensorflow"))
    found = {p.stem: np.load(p) for p in (folder / "cli").glob("*.npy")}
    assert not everything.differences(expected[batch], found, methods)
