"""A SavedModel of all layers answers as Keras does, without keras_norm.

Sizes of the batch and, where a layer does not need them, of the positions are
left open in the export and chosen by the caller.
"""

import everything
import numpy as np
import processes
import pytest

# In one process of several (--dist loadgroup): they share one run.
pytestmark = pytest.mark.xdist_group("export")
BATCHES = {1: (4, 3), 7: (5, 6)}


@pytest.fixture(scope="module", params=everything.TIERS)
def served(request, tmp_path_factory):
    """What Keras and what the SavedModel answer, by batch size."""
    folder = tmp_path_factory.mktemp("export")
    model = everything.make(request.param, unknown=True)
    model.export(folder / "model", format="tf_saved_model", verbose=False)
    asked = {
        batch: everything.data(model, batch, sizes, seed=batch)
        for batch, sizes in BATCHES.items()
    }
    for batch, inputs in asked.items():
        np.savez(folder / f"inputs_{batch}.npz", **inputs)
    process = processes.start("serve.py", folder, backend="tensorflow")
    expected = {b: everything.answer(model, i) for b, i in asked.items()}
    processes.finish(process)
    found = {
        batch: dict(np.load(folder / f"outputs_{batch}.npz"))
        for batch in BATCHES
    }
    return request.param, expected, found


@pytest.mark.parametrize("batch", BATCHES)
def test_saved_model_answers_as_keras_does(served, batch):
    methods, expected, found = served
    assert not everything.differences(expected[batch], found[batch], methods)
