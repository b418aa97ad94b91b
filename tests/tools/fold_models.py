"""Models with random weights, and whether folding changes what they compute."""

import keras
import numpy as np

import keras_norm as kn

# Kernels are rounded once, outputs by each of a handful of layers.
TOLERANCE = 1e-5


def array(x):
    return keras.ops.convert_to_numpy(x)


def shaken(model):
    """Random weights: variances and scales of either sign, large means."""
    random = np.random.default_rng(0)
    for w in model.weights:
        if w.dtype != "float32":
            continue
        if "variance" in w.name or "stddev" in w.name:
            value = random.uniform(0.3, 3.0, w.shape)
        elif w.name == "gamma":
            value = random.uniform(-1.5, 1.5, w.shape)
        else:
            value = random.normal(0.0, 0.5, w.shape)
        w.assign(value.astype("float32"))
    return model


def data(model):
    random = np.random.default_rng(1)
    (t,) = model.inputs
    return random.normal(size=(2, *t.shape[1:])).astype("float32")


def check_equal(model, folded):
    """The same outputs, of the size of the outputs."""
    x = data(model)
    expected = keras.tree.flatten(model(x))
    found = keras.tree.flatten(folded(x))
    assert len(expected) == len(found)
    for a, b in zip(map(array, expected), map(array, found), strict=True):
        assert a.shape == b.shape and np.ptp(a) > 1e-2
        assert np.abs(a - b).max() <= TOLERANCE * np.abs(a).max()


def functional(function, shape):
    inputs = keras.Input(shape)
    return shaken(keras.Model(inputs, function(inputs), name="model"))


def folded(model, **options):
    before = [array(w) for w in model.weights]
    made, report = kn.tools.fold(model, return_report=True, **options)
    after = [array(w) for w in model.weights]
    assert all(map(np.array_equal, before, after))
    check_equal(model, made)
    return made, report


def norms(model):
    return [
        layer.name
        for layer in model._flatten_layers()
        if "Normalization" in type(layer).__name__
    ]
