"""Answers from a SavedModel with TensorFlow alone, without keras_norm.

Arguments: the SavedModel, a .npy file with images, the .npy file to write.
"""

import importlib.abc
import sys


class _Blocker(importlib.abc.MetaPathFinder):
    """Makes keras_norm impossible to import, though it is installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "keras_norm":
            raise ModuleNotFoundError(f"{name} is blocked in this process")
        return None


sys.meta_path.insert(0, _Blocker())
try:
    import keras_norm  # noqa: F401
except ModuleNotFoundError:
    print("Asked in a process in which keras_norm cannot be imported:")
else:
    sys.exit("keras_norm can be imported, so this would prove nothing.")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

export, request, response = sys.argv[1:]
model = tf.saved_model.load(export)
np.save(response, model.serve(tf.constant(np.load(request))).numpy())
