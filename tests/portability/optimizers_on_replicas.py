"""Optimizers on replicas. Run as `optimizers_on_replicas.py FOLDER [RANK]`.

Four devices under JAX, MirroredStrategy on two logical CPUs of TensorFlow, two
processes under torch.distributed: three steps, each of one batch that is
divided among them.
"""

import os
import sys
from pathlib import Path

BACKEND = os.environ.get("KERAS_BACKEND")
RUNS = __name__ == "__main__"
if RUNS and BACKEND == "tensorflow":
    import tensorflow as tf

    # Before anything is computed.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )

import keras  # noqa: E402
import numpy as np  # noqa: E402

import keras_norm as kn  # noqa: E402

BATCH = 8
rng = np.random.default_rng(15)
X = rng.normal(size=(3 * BATCH, 6)).astype("float32")
Y = rng.normal(size=(3 * BATCH, 3)).astype("float32")
# Replicas see different means.
X[::2] += 2.0


def transformed(inner, *arguments):
    chain = [kn.optimizers.centralize(), kn.optimizers.adaptive_clip(0.1)]
    return kn.optimizers.GradientTransform(inner, chain, *arguments, l2=0.01)


def layers():
    rule = kn.optimizers.block_normalize("layer")
    return kn.optimizers.GradientTransform(keras.optimizers.SGD(0.1), rule)


OPTIMIZERS = {
    "sgd": lambda: transformed(keras.optimizers.SGD(0.1, 0.9)),
    "adam": lambda: transformed(keras.optimizers.Adam(0.1), "update"),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(
        transformed(keras.optimizers.SGD(0.1)), initial_scale=8.0
    ),
    "lars": lambda: kn.optimizers.LARS(0.1, l2=0.01, trust_coefficient=1.0),
    "lamb": lambda: kn.optimizers.LAMB(0.1, decay=0.01),
    "wngrad": lambda: kn.optimizers.WNGrad(blocks="variable"),
}
# What needs all gradients at once.
TOGETHER = {"layers": layers, "wngrad, model": lambda: kn.optimizers.WNGrad()}
if BACKEND == "jax":
    OPTIMIZERS |= TOGETHER


def network(optimizer):
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(4, "tanh"),
            keras.layers.Dense(3),
        ]
    )
    for seed, w in enumerate(model.trainable_variables):
        values = np.random.default_rng(seed).normal(size=w.shape)
        w.assign(values.astype("float32"))
    model.compile(optimizer, "mse", jit_compile=BACKEND == "jax")
    return model


def fitted(make):
    """Weights after training."""
    model = network(make())
    model.fit(X, Y, BATCH, epochs=1, shuffle=False, verbose=0)
    return model.get_weights()


def refused(make):
    """Is the optimizer refused, when it is made or in training?"""
    try:
        fitted(make)
    except ValueError as error:
        assert "replica" in str(error), error
        return True
    return False


def on_tensorflow():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        assert all(refused(make) for make in TOGETHER.values())
        return {name: fitted(make) for name, make in OPTIMIZERS.items()}


def on_jax():
    import jax

    assert jax.device_count() == 4
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(
            devices=keras.distribution.list_devices()
        )
    )
    return {name: fitted(make) for name, make in OPTIMIZERS.items()}


def on_torch(folder, rank):
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )

    def trained(make):
        """As a user writes it: the gradients are averaged on their way."""
        model, optimizer = network("sgd"), make()
        optimizer.build(model.trainable_variables)
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        for start in range(0, len(X), BATCH):
            first = start + rank * BATCH // 2
            mine = slice(first, first + BATCH // 2)
            error = parallel(torch.tensor(X[mine])) - torch.tensor(Y[mine])
            model.zero_grad()
            optimizer.scale_loss(torch.mean(error**2)).backward()
            variables = model.trainable_variables
            with torch.no_grad():
                optimizer.apply([v.value.grad for v in variables], variables)
        return model.get_weights()

    assert refused(layers)
    # All processes have all gradients.
    every = {**OPTIMIZERS, "wngrad, model": TOGETHER["wngrad, model"]}
    found = {name: trained(make) for name, make in every.items()}
    distributed.barrier()
    distributed.destroy_process_group()
    return found


if RUNS:
    folder = Path(sys.argv[1])
    if BACKEND == "tensorflow":
        results = on_tensorflow()
    elif BACKEND == "jax":
        results = on_jax()
    else:
        results = on_torch(folder, int(sys.argv[2]))
    if BACKEND != "torch" or sys.argv[2] == "0":
        np.savez(
            folder / "optimizers.npz",
            **{
                f"{name}_{k}": w
                for name, weights in results.items()
                for k, w in enumerate(weights)
            },
        )
