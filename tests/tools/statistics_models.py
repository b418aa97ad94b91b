"""Models and references for the tools that set statistics."""

import keras
import numpy as np
from keras import layers

import keras_norm as kn

KINDS = {
    "keras": layers.BatchNormalization,
    "ours": kn.layers.BatchNormalization,
}


def array(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor), "float64")


def data(samples=50, features=4, seed=0):
    random = np.random.default_rng(seed)
    scales, means = np.linspace(0.3, 2.0, features), np.arange(features)
    x = random.standard_normal((samples, features)) * scales + 3 * means
    return x.astype("float32")


def chain(kind="keras"):
    """Normalization behind normalization, with noise between."""
    norm = KINDS[kind]
    model = keras.Sequential(
        [
            keras.Input((4,)),
            norm(name="first"),
            layers.Dropout(0.5),
            layers.Dense(4, activation="relu", name="dense"),
            norm(name="second"),
            layers.Dense(2, name="head"),
        ]
    )
    random = np.random.default_rng(1)
    model.set_weights(
        [
            np.abs(random.standard_normal(w.shape)) + 0.2
            if w.name in ("gamma", "moving_variance")
            else random.standard_normal(w.shape)
            for w in model.weights
        ]
    )
    return model


def moments(batches):
    """(mean, variance, mean of the variances), the batches weighted."""
    whole = np.concatenate(batches).astype("float64")
    within = sum(len(b) * np.var(b, axis=0) for b in batches) / len(whole)
    return whole.mean(axis=0), whole.var(axis=0), within


def reference(model, x, size):
    """Moments before both normalizations of `chain`, from the formula."""
    first, dense = model.get_layer("first"), model.get_layer("dense")
    gamma, beta = array(first.gamma), array(first.beta)
    kernel, bias = array(dense.kernel), array(dense.bias)
    x = x.astype("float64")
    batches = [x[i : i + size] for i in range(0, len(x), size)]
    hidden = []
    for b in batches:
        rate = gamma / np.sqrt(b.var(axis=0) + first.epsilon)
        y = (b - b.mean(axis=0)) * rate + beta
        hidden.append(np.maximum(y @ kernel + bias, 0))
    return moments(batches), moments(hidden)


def statistics(layer):
    return array(layer.moving_mean), array(layer.moving_variance)


def state(model):
    """Everything that a tool must leave as it is on an exception."""
    inner = [model, *model._flatten_layers(include_self=False)]
    return (
        [array(v) for v in model.variables],
        [layer.trainable for layer in inner],
        [getattr(layer, "momentum", None) for layer in inner],
        ["call" in vars(layer) for layer in inner],
    )


def same(before, after):
    pairs = zip(before[0], after[0], strict=True)
    return before[1:] == after[1:] and all(np.array_equal(*p) for p in pairs)
