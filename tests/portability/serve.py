"""Answers from a SavedModel where keras_norm cannot be imported.

Run as `serve.py FOLDER`: FOLDER/model is the SavedModel, inputs_BATCH.npz what
it is asked, outputs_BATCH.npz what it answers.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


class Without:
    """Makes keras_norm fail to import, also where it is installed."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == "keras_norm":
            raise ModuleNotFoundError(name)
        return None


sys.meta_path.insert(0, Without)
try:
    import keras_norm  # noqa: F401
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("keras_norm can be imported")

folder = Path(sys.argv[1])
serve = tf.saved_model.load(folder / "model").signatures["serving_default"]
for path in folder.glob("inputs_*.npz"):
    asked = {k: tf.constant(v) for k, v in np.load(path).items()}
    answers = serve(**asked)
    np.savez(
        folder / path.name.replace("inputs", "outputs"),
        **{k: v.numpy() for k, v in answers.items()},
    )
assert "keras_norm" not in sys.modules
