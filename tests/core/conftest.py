"""Leaves out what a backend cannot be asked."""

import keras

# TensorFlow does not tell what a tape keeps.
collect_ignore = (
    ["test_memory.py"] if keras.backend.backend() == "tensorflow" else []
)
