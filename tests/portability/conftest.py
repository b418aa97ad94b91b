"""Leaves out what a backend cannot do."""

import keras

BACKEND = keras.backend.backend()

collect_ignore = []
if BACKEND != "jax":
    # Lowering for other platforms is what JAX has.
    collect_ignore += [
        "test_lowering.py",
        "test_weight_graphs.py",
        "test_whitening_graphs.py",
    ]
if BACKEND == "torch":
    # Keras exports SavedModels from PyTorch through torch_xla, of which no
    # version runs with the PyTorch that it is tested with.
    collect_ignore.append("test_export.py")
