"""Loads what test_saving.py saved, answers, and saves its answers.

Run as `load_everything.py FOLDER` on any backend.
"""

import os
import sys
from pathlib import Path

import keras
import numpy as np

import keras_norm  # noqa: F401 - registers the layers

folder = Path(sys.argv[1])
backend = os.environ["KERAS_BACKEND"]
assert keras.backend.backend() == backend

inputs = dict(np.load(folder / "inputs.npz"))
# safe_mode is the default; it is written out because it is the point.
model = keras.models.load_model(folder / "everything.keras", safe_mode=True)
weights = {str(i): w for i, w in enumerate(model.get_weights())}
np.savez(folder / f"weights_{backend}.npz", **weights)
if backend == "jax":
    outputs = model.predict(inputs, verbose=0)
else:  # Not worth compiling a hundred layers for one answer.
    outputs = {
        k: keras.ops.convert_to_numpy(y) for k, y in model(inputs).items()
    }
np.savez(folder / f"outputs_{backend}.npz", **outputs)

model.set_weights([np.zeros_like(w) for w in model.get_weights()])
model.load_weights(folder / "everything.weights.h5")
weights = {str(i): w for i, w in enumerate(model.get_weights())}
np.savez(folder / f"h5_weights_{backend}.npz", **weights)
