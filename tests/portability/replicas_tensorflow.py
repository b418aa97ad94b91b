"""Two logical CPUs under MirroredStrategy.

Run as `replicas_tensorflow.py FOLDER`.
"""

import sys
from pathlib import Path

import tensorflow as tf

# Before anything is computed.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)

import numpy as np  # noqa: E402
import replicas  # noqa: E402

import keras_norm  # noqa: E402
from keras_norm.core.distribution import replica_count  # noqa: E402
from keras_norm.core.distribution import replica_sum  # noqa: E402

folder = Path(sys.argv[1])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2


def split(array, first):
    """An array over the replicas, its first axis divided."""
    parts = [tf.constant(array[:first]), tf.constant(array[first:])]
    return strategy.experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group]
    )


def joined(value):
    """The parts of all replicas, in order."""
    parts = strategy.experimental_local_results(value)
    return np.concatenate([p.numpy() for p in parts])


def added(value):
    parts = strategy.experimental_local_results(value)
    return sum(p.numpy() for p in parts)


def run(case):
    with strategy.scope():
        layer = replicas.make(case)
    inputs, upstream, mask = replicas.arrays(case)
    weights = [v.value for v in layer.trainable_variables]

    def step(inputs, upstream, mask):
        with tf.GradientTape() as tape:
            tape.watch(inputs[0])
            keywords = {} if mask is None else {"mask": mask}
            y = layer(replicas.given(case, inputs), training=True, **keywords)
            total = tf.reduce_sum(y * upstream)
        dx, *dw = tape.gradient(
            total, [inputs[0], *weights], unconnected_gradients="zero"
        )
        return y, dx, [tf.convert_to_tensor(g) for g in dw]

    @tf.function
    def both(*arguments):
        return strategy.run(step, args=arguments)

    y, dx, dw = both(
        [split(a, case.first) for a in inputs],
        split(upstream, case.first),
        None if mask is None else split(mask, case.first),
    )
    state = []
    for v in layer.non_trainable_variables:
        copies = strategy.experimental_local_results(v.value)
        for copy in copies:
            np.testing.assert_array_equal(copy.numpy(), copies[0].numpy())
        state.append(copies[0].numpy())
    dw = [
        replicas.total_of(v, added(g))
        for v, g in zip(layer.trainable_variables, dw, strict=True)
    ]
    return joined(y), joined(dx), dw, state


def check_sum():
    """The sum over replicas and its gradient, which is a sum too."""

    def step():
        rank = tf.distribute.get_replica_context().replica_id_in_sync_group
        t = tf.constant([1.0, 2.0]) + 10.0 * tf.cast(rank, "float32")
        with tf.GradientTape() as tape:
            tape.watch(t)
            total = replica_sum(t)
            loss = tf.reduce_sum(total) * (1.0 + tf.cast(rank, "float32"))
        assert replica_count() == 2
        return total, tape.gradient(loss, t)

    total, gradient = tf.function(lambda: strategy.run(step))()
    for part in strategy.experimental_local_results(total):
        np.testing.assert_allclose(part, [12.0, 14.0])
    for part in strategy.experimental_local_results(gradient):
        np.testing.assert_allclose(part, [3.0, 3.0])


def check_loop():
    """No sums over replicas in a loop: refused, and how to do without."""
    options = {**replicas.RECURRENT.options, "unroll": False}
    with strategy.scope():
        layer = keras_norm.layers.BatchNormalizedLSTM(
            **options, synchronized=True
        )
        layer.build((None, 5, 8))
    step = tf.function(
        lambda: strategy.run(lambda: layer(tf.ones((2, 5, 8)), training=True))
    )
    try:
        step()
    except ValueError as error:
        assert "Use `unroll=True`" in str(error)
    else:
        raise AssertionError("a loop over replicas was not refused")


assert replica_count() == 1
check_sum()
check_loop()
results = {}
for i, case in enumerate(replicas.cases()):
    y, dx, dw, state = run(case)
    results |= {f"{i}_y": y, f"{i}_dx": dx}
    results |= {f"{i}_dw{k}": w for k, w in enumerate(dw)}
    results |= {f"{i}_state{k}": s for k, s in enumerate(state)}

with strategy.scope():
    model = replicas.fit_model(keras_norm.layers)
model.fit(*replicas.fit_data(), **replicas.FIT)
results |= {f"fit_{k}": w for k, w in enumerate(model.get_weights())}
np.savez(folder / "replicas.npz", **results)
