"""Answers from a SavedModel where keras_norm cannot be imported.

Run as `serve.py FOLDER`: FOLDER/model is the SavedModel, inputs_BATCH.npz what
it is asked, outputs_BATCH.npz what it answers. signature.json gets the names of
its tensors.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.saved_model import loader_impl


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
definition = loader_impl.parse_saved_model(str(folder / "model"))
definition = definition.meta_graphs[0].signature_def["serving_default"]
(folder / "signature.json").write_text(
    json.dumps(
        {
            "inputs": {k: v.name for k, v in definition.inputs.items()},
            "outputs": {k: v.name for k, v in definition.outputs.items()},
        }
    )
)
for path in folder.glob("inputs_*.npz"):
    asked = {k: tf.constant(v) for k, v in np.load(path).items()}
    answers = serve(**asked)
    np.savez(
        folder / path.name.replace("inputs", "outputs"),
        **{k: v.numpy() for k, v in answers.items()},
    )
assert "keras_norm" not in sys.modules
