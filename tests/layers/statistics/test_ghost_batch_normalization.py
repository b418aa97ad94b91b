"""Ghost batches: identities, and what a row of moving averages comes to."""

import numpy as np
import pytest

from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import GhostBatchNormalization
from keras_norm.layers import InstanceNormalization

SHAPE = (10, 3, 2, 4)


def data(seed=0):
    """Samples whose means differ from ghost to ghost."""
    rng = np.random.default_rng(seed)
    drift = np.arange(SHAPE[0]).reshape(-1, 1, 1, 1)
    return (rng.normal(size=SHAPE) + drift).astype("float32")


def built(cls, *arguments, **options):
    layer = cls(*arguments, epsilon=1e-5, **options)
    layer.build(SHAPE)
    return layer


def assert_same_state(layer, twin):
    for a, b in zip(
        layer.non_trainable_weights, twin.non_trainable_weights, strict=True
    ):
        close(numpy(a), numpy(b), entries=np.prod(SHAPE))


@pytest.mark.parametrize("update", ["sequential", "mean"])
def test_one_ghost_is_batch_normalization(update):
    x, upstream = data(), data(1)
    # A ghost may be larger than the batch, too.
    for size in (10, 64):
        layer = built(GhostBatchNormalization, size, update=update)
        twin = built(BatchNormalization, momentum=0.9)
        ours, theirs = (gradients(t, [x], upstream) for t in (layer, twin))
        close(ours.outputs, theirs.outputs)
        close(ours.inputs[0], theirs.inputs[0], entries=x.size)
        assert_same_state(layer, twin)


def test_ghosts_of_one_sample_are_instance_normalization():
    x = data()
    layer = built(GhostBatchNormalization, 1)
    twin = built(InstanceNormalization)
    close(numpy(layer(x, training=True)), numpy(twin(x)), entries=x.size)


@pytest.mark.parametrize("momentum", [0.0, 0.6, 1.0])
def test_sequential_state_is_that_of_as_many_batches(momentum):
    x = data()
    layer = built(GhostBatchNormalization, 4, momentum=momentum)
    twin = built(BatchNormalization, momentum=momentum)
    y = numpy(layer(x, training=True))
    # Two samples are left for the last.
    parts = [x[:4], x[4:8], x[8:]]
    expected = [numpy(twin(part, training=True)) for part in parts]
    close(y, np.concatenate(expected), entries=x.size)
    assert_same_state(layer, twin)


def test_ghosts_that_saw_nothing_are_no_ghosts():
    x = data()
    mask = np.ones(SHAPE, bool)
    mask[4:8] = False
    # One channel of the last ghost, too.
    mask[8:, :, :, 1] = False
    layer = built(GhostBatchNormalization, 4)
    layer(x, training=True, mask=mask)
    twin = built(BatchNormalization, momentum=0.9)
    for part in (slice(4), slice(8, None)):
        twin(x[part], training=True, mask=mask[part])
    assert_same_state(layer, twin)


def test_mean_weights_the_ghosts_by_their_entries():
    x = data()
    layer = built(GhostBatchNormalization, 4, momentum=0.5, update="mean")
    layer(x, training=True)
    parts = [p.astype("float64") for p in (x[:4], x[4:8], x[8:])]
    share = [0.4, 0.4, 0.2]
    for name, start, statistic in (
        ("mean", 0.0, np.mean),
        ("variance", 1.0, np.var),
    ):
        found = sum(
            s * statistic(p, axis=(0, 1, 2))
            for s, p in zip(share, parts, strict=True)
        )
        state = numpy(getattr(layer, f"moving_{name}"))
        close(state, 0.5 * start + 0.5 * found, entries=x.size)
