"""Several devices give what one device gives on the whole batch.

JAX: four devices, the batch sharded over them. TensorFlow: MirroredStrategy on
two logical CPUs. PyTorch: two processes under torch.distributed. Each runtime
lives in processes of its own and needs `synchronized=True`, except JAX, where
sharded statistics are global anyway.
"""

import keras
import numpy as np
import processes
import pytest
import replicas

from gradients import gradients
from keras_norm import layers
from keras_norm.core import distribution

# In one process of several (--dist loadgroup): they share one run.
pytestmark = pytest.mark.xdist_group("replicas")
BACKEND = keras.backend.backend()
CASES = replicas.cases()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the replicas answered: y, dx, dw and state of every case."""
    folder = tmp_path_factory.mktemp("replicas")
    script = f"replicas_{BACKEND}.py"
    more = {}
    if BACKEND == "jax":
        more["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
    ranks = range(2) if BACKEND == "torch" else [None]
    running = [
        processes.start(
            script,
            folder,
            *([] if rank is None else [rank]),
            backend=BACKEND,
            **more,
        )
        for rank in ranks
    ]
    processes.finish(*running)
    return np.load(folder / "replicas.npz")


def close(value, expected, tolerance=1e-5):
    """Relative to the largest entry: sums run in another order."""
    size = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(value, expected, atol=tolerance * size, rtol=0)


@pytest.mark.parametrize(
    "i", range(len(CASES)), ids=map(replicas.name_of, CASES)
)
def test_replicas_give_what_one_device_gives(found, i):
    case = CASES[i]
    layer = replicas.make(case)
    inputs, upstream, mask = replicas.arrays(case)
    expected = gradients(
        layer, [replicas.given(case, inputs)], upstream, mask=mask
    )
    dx = expected.inputs[0]
    seen = slice(None) if mask is None else mask
    close(found[f"{i}_y"][seen], expected.outputs[seen])
    close(found[f"{i}_dx"], dx[0] if isinstance(dx, list) else dx)
    for k, g in enumerate(expected.weights.values()):
        close(found[f"{i}_dw{k}"], g)
    for k, v in enumerate(layer.non_trainable_variables):
        close(found[f"{i}_state{k}"], keras.ops.convert_to_numpy(v), 1e-6)


def test_training_on_replicas_goes_as_on_one_device(found):
    model = replicas.fit_model(layers)
    model.fit(*replicas.fit_data(), **replicas.FIT)
    for k, w in enumerate(model.get_weights()):
        close(found[f"fit_{k}"], w)


def test_synchronized_layer_runs_where_nothing_is_replicated():
    assert distribution.replica_count() == 1
    t = keras.ops.ones((2, 3))
    assert distribution.replica_sum(t) is t
    layer = layers.BatchNormalization(synchronized=True)
    plain = layers.BatchNormalization()
    x = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(layer(x, training=True)),
        keras.ops.convert_to_numpy(plain(x, training=True)),
    )
