"""What is kept for the backward pass: at most one tensor of the input's size.

PyTorch tells through its hooks on saved tensors, JAX through the residuals of
`jax.vjp`. Two that share their memory count once; the input, where it is kept,
counts too.
"""

import keras
import numpy as np
import pytest

from keras_norm import layers

BACKEND = keras.backend.backend()
# Tables (N, C) and weights are allowed on top: small beside the data.
SLACK = 0.05

CASES = {
    "batch": (layers.BatchNormalization, {}, (16, 24, 24, 16)),
    "batch channels first": (
        layers.BatchNormalization,
        {"axis": 1},
        (16, 16, 24, 24),
    ),
    "layer": (layers.LayerNormalization, {}, (16, 64, 128)),
    "layer over all": (
        layers.LayerNormalization,
        {"axis": (1, 2, 3), "param_axis": -1},
        (16, 24, 24, 16),
    ),
    "group": (layers.GroupNormalization, {"groups": 4}, (16, 24, 24, 16)),
    "instance": (layers.InstanceNormalization, {}, (16, 24, 24, 16)),
    "RMS": (layers.RMSNormalization, {}, (16, 64, 128)),
}


def kept_by_torch(layer, x):
    import torch

    storages = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.tensor(x, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        y = layer(x, training=True)
    y.sum().backward()
    return sum(storages.values())


def kept_by_jax(layer, x):
    import jax

    x = keras.ops.convert_to_tensor(x)
    trainable = [v.value for v in layer.trainable_variables]
    state = [v.value for v in layer.non_trainable_variables]

    def call(trainable, x):
        y, _ = layer.stateless_call(trainable, state, x, training=True)
        return y

    _, backward = jax.vjp(jax.jit(call), trainable, x)
    leaves = [t for t in jax.tree.leaves(backward) if hasattr(t, "nbytes")]
    buffers = {t.unsafe_buffer_pointer(): t.nbytes for t in leaves}
    return sum(buffers.values())


@pytest.mark.parametrize("case", CASES)
def test_backward_keeps_one_tensor_of_the_size_of_the_input(case):
    cls, options, shape = CASES[case]
    layer = cls(**options)
    layer.build(shape)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    kept = {"torch": kept_by_torch, "jax": kept_by_jax}[BACKEND](layer, x)
    assert kept >= x.nbytes  # or nothing was measured
    assert kept <= (1 + SLACK) * x.nbytes, kept / x.nbytes
