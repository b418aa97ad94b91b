"""What the replicas of every backend are asked: the same as one device.

Every layer that can be synchronized, at a moderate and at a large mean, with a
mask that leaves the replicas different numbers of entries, and with parts of
the batch of different sizes.
"""

import dataclasses
from collections import namedtuple

import keras
import numpy as np

from contract.method import Method
from contract.method import mapped
from contract.methods import METHODS
from contract.table.compensated_statistics import cross_iteration_kernels
from contract.table.compensated_statistics import fine_grained_convolutions
from keras_norm.core import configuration

BATCH = 8

# Each has weights of its own way.
MASKED = (
    "BatchNormalization",
    "BatchGroupNormalization",
    "IterativeNormalization",
    "SwitchableNormalization",
)

# Each has a path of its own for what replicas hold different numbers of.
UNEVEN = (
    "BatchNormalization",
    "IterativeNormalization",
    "LpBatchNormalization",
    "RangeBatchNormalization",
    "SwitchableNormalization",
)
JAX = keras.backend.backend() == "jax"
# Statistics of every time step. TensorFlow needs the loop unrolled.
RECURRENT = Method(
    "BatchNormalizedLSTM",
    90,
    options={
        "units": 4,
        "return_sequences": True,
        "unroll": True,
        "seed": 1,
    },
    ranks=(3,),
    result=mapped(4),
)
# Outside of the contract's table: statistics of what a kernel sees.
CONVOLUTION, STRIDED, DENSE = cross_iteration_kernels()
FINE, FINE_STRIDED = fine_grained_convolutions()

# first: samples that the first of two replicas has.
Case = namedtuple("Case", "method shift masked first", defaults=(BATCH // 2,))


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
    found += [Case(first[name], 1e4, True) for name in MASKED]
    found += [Case(RECURRENT, 0.5, False), Case(RECURRENT, 0.5, True)]
    found += [Case(CONVOLUTION, 1e4, False), Case(DENSE, 0.5, True)]
    found += [Case(FINE, 1e4, False), Case(FINE_STRIDED, 0.5, False)]
    # Without positions samples share a pivot, which replicas do not.
    attentive = first["AttentiveNormalization"]
    found += [Case(dataclasses.replace(attentive, ranks=(2,)), 0.5, False)]
    found += [Case(first["ModeNormalization"], 0.5, False)]
    if JAX:
        # Sharded arrays have shards of one size.
        return found
    found += [Case(STRIDED, 0.5, False, 3), Case(CONVOLUTION, 0.5, False, 0)]
    found += [Case(FINE, 0.5, False, 3), Case(FINE, 0.5, False, 0)]
    uneven = [Case(first[name], 1e4, False, 3) for name in UNEVEN]
    found += [*uneven, Case(RECURRENT, 0.5, False, 3)]
    return [*found, Case(first["BatchNormalization"], 1e4, False, 0)]


def name_of(case):
    mask = ", masked" if case.masked else ""
    sizes = "" if case.first == BATCH // 2 else f", {case.first} samples"
    return f"{case.method}, {case.shift:g}{mask}{sizes}"


def make(case):
    """The layer of a case, built, with weights that no test can confuse."""
    layer = case.method.built(synchronized=True)
    for variable in layer.trainable_variables:
        # The gradient of what multiplies data far from zero adds up terms as
        # large as they are, which cancel: other cases compare it.
        if case.shift > 1 and multiplies(layer, variable):
            variable.trainable = False
    return layer


def multiplies(layer, variable):
    """Is the variable a factor of the input itself, not of normalized data?"""
    convolves = type(layer).__name__.endswith("Conv2D")
    return variable.name == "gate_kernel" or (
        convolves and variable.name == "kernel"
    )


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
        trailing = (1,) * (upstream.ndim - 2)
        upstream *= mask.reshape(*mask.shape, *trailing)
    return inputs, upstream, mask


def total_of(variable, gradient):
    """The sum over replicas, as optimizers take it, given what they add up to.

    State of a backward pass is each replica's own "gradient", and the mean.
    """
    carried = getattr(variable, "overwrite_with_gradient", False)
    return gradient / 2 if carried else gradient


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
    def dense(units):
        initializer = keras.initializers.GlorotUniform(seed=1)
        return keras.layers.Dense(units, kernel_initializer=initializer)

    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.BatchNormalization(momentum=0.5, synchronized=True),
            dense(4),
            layers.IterativeNormalization(group_size=2, synchronized=True),
            dense(2),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    return model
