"""Four devices under JAX. Run as `replicas_jax.py FOLDER`."""

import sys
from pathlib import Path

import jax
import keras
import numpy as np
import replicas

import keras_norm

folder = Path(sys.argv[1])
assert jax.device_count() == 4
keras.distribution.set_distribution(
    keras.distribution.DataParallel(devices=keras.distribution.list_devices())
)
layout = keras.distribution.distribution().get_data_layout


def split(array):
    """An array over the devices, its first axis divided."""
    return keras.distribution.distribute_tensor(
        keras.ops.convert_to_tensor(array), layout(array.shape)
    )


def run(case):
    layer = replicas.make(case)
    inputs, upstream, mask = replicas.arrays(case)
    upstream = split(upstream)
    keywords = {} if mask is None else {"mask": split(mask)}

    def total(weights, floats, rest, state):
        y, state = layer.stateless_call(
            weights,
            state,
            replicas.given(case, [*floats, *rest]),
            training=True,
            **keywords,
        )
        return keras.ops.sum(y * upstream), (y, state)

    step = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    tensors = [split(a) for a in inputs]
    floats = [t for t in tensors if t.dtype != "int32"]
    (dw, dx), (y, state) = step(
        [v.value for v in layer.trainable_variables],
        floats,
        tensors[len(floats) :],
        [v.value for v in layer.non_trainable_variables],
    )
    assert len(y.sharding.device_set) == 4
    assert len(tensors[0].addressable_shards[0].data) == replicas.BATCH // 4
    return y, dx[0], dw, state


results = {}
for i, case in enumerate(replicas.cases()):
    y, dx, dw, state = run(case)
    results |= {f"{i}_y": y, f"{i}_dx": dx}
    results |= {f"{i}_dw{k}": w for k, w in enumerate(dw)}
    results |= {f"{i}_state{k}": s for k, s in enumerate(state)}

model = replicas.fit_model(keras_norm.layers)
model.fit(*replicas.fit_data(), **replicas.FIT)
results |= {f"fit_{k}": w for k, w in enumerate(model.get_weights())}
np.savez(folder / "replicas.npz", **results)
