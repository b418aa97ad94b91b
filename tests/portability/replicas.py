"""What the replicas of every backend are asked: the same as one device.

Every layer that can be synchronized, at a moderate and at a large mean, and
with a mask that leaves the replicas different numbers of entries.
"""

from collections import namedtuple

import keras
import numpy as np

from contract.methods import METHODS
from keras_norm.core import configuration

BATCH = 8

# Each has weights of its own way.
MASKED = (
    "BatchNormalization",
    "BatchGroupNormalization",
    "IterativeNormalization",
    "SwitchableNormalization",
)

Case = namedtuple("Case", "method shift masked")


def cases():
    """All cases, in an order that every process agrees on."""
    methods = [
        m
        for m in METHODS
        if "synchronized" in configuration.arguments(m.cls)
        # Parts of a batch are cut from what a replica has of it.
        and not m.sees_order
    ]
    first = {}
    for m in methods:
        first.setdefault(m.layer, m)
    renorm = [m for m in methods if m.label == "renorm"]
    found = [Case(first["BatchNormalization"], 0.5, False)]
    found += [Case(m, 1e4, False) for m in [*first.values(), *renorm]]
    return found + [Case(first[name], 1e4, True) for name in MASKED]


def name_of(case):
    mask = ", masked" if case.masked else ""
    return f"{case.method}, {case.shift:g}{mask}"


def make(case):
    """The layer of a case, built, with weights that no test can confuse."""
    return case.method.built(synchronized=True)


def arrays(case):
    """(inputs, upstream, mask or None) for the whole batch."""
    shape = (BATCH, *case.method.shape()[1:])
    inputs = case.method.inputs(shape=shape, shift=case.shift)
    rng = np.random.default_rng(8)
    upstream = rng.normal(size=case.method.result(shape)).astype("float32")
    mask = None
    if case.masked:
        mask = rng.integers(0, 2, shape[:2]).astype("bool")
        # The first replica has seen almost nothing.
        mask[: BATCH // 4] = False
        mask[0, 0] = True
        # No loss looks at what is masked.
        upstream *= mask[..., None, None]
    return inputs, upstream, mask


def given(case, inputs):
    return list(inputs) if case.method.conditions else inputs[0]


# A model for `fit`: three steps on three batches.

FIT = {"batch_size": BATCH, "epochs": 1, "shuffle": False, "verbose": 0}


def fit_data():
    rng = np.random.default_rng(9)
    x = rng.normal(1e4, 1.0, (3 * BATCH, 6)).astype("float32")
    # Replicas see different means.
    x[::2] += 3.0
    return x, rng.normal(size=(3 * BATCH, 2)).astype("float32")


def fit_model(layers):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(momentum=0.5, synchronized=True),
            keras.layers.Dense(
                2, kernel_initializer=keras.initializers.GlorotUniform(seed=1)
            ),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    return model
