"""Memorized batch normalization: recent batches as if they were one."""

import numpy as np

from contract.method import numpy
from contract.tolerances import close
from gradients import gradients
from keras_norm.core.memory import replacing
from keras_norm.layers import BatchNormalization
from keras_norm.layers import MemorizedBatchNormalization

SHAPE = (6, 3, 2, 4)


def data(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(float(seed), 2.0, SHAPE).astype("float32")


def built(cls, **options):
    layer = cls(epsilon=1e-5, **options)
    layer.build(SHAPE)
    return layer


def test_memory_of_one_is_batch_normalization():
    upstream = data(9)
    layer = built(MemorizedBatchNormalization, memory_size=1)
    twin = built(BatchNormalization)
    for x in (data(0), data(1)):
        ours, theirs = (gradients(t, [x], upstream) for t in (layer, twin))
        close(ours.outputs, theirs.outputs)
        close(ours.inputs[0], theirs.inputs[0], entries=x.size)
    # It infers by the last batch.
    close(numpy(layer(x)), ours.outputs, entries=x.size)


def test_without_decay_it_normalizes_by_the_last_batches_as_one():
    layer = built(MemorizedBatchNormalization, memory_size=3, decay=1.0)
    batches = [data(k) for k in range(5)]
    for k, x in enumerate(batches):
        y = numpy(layer(x, training=True))
        recent = np.stack(batches[max(0, k - 2) : k + 1]).astype("float64")
        mean = np.mean(recent, axis=(0, 1, 2, 3))
        variance = np.var(recent, axis=(0, 1, 2, 3))
        expected = (x - mean) / np.sqrt(variance + 1e-5)
        close(y, expected, entries=recent.size)
        assert int(layer.count) == min(k + 1, 3)
    close(numpy(layer(x)), expected, entries=recent.size)


def test_a_second_pass_replaces_the_newest_entry():
    layer = built(MemorizedBatchNormalization, memory_size=3)
    twin = built(MemorizedBatchNormalization, memory_size=3)
    for x in (data(0), data(1)):
        layer(x, training=True)
    with replacing([layer.statistics]):
        again = numpy(layer(data(2), training=True))
    # As if the second batch had been the other one.
    twin(data(0), training=True)
    expected = numpy(twin(data(2), training=True))
    np.testing.assert_array_equal(again, expected)
    for a, b in zip(layer.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not layer.statistics.replaces


def test_empty_memory_infers_by_its_start():
    x = data()
    layer = built(MemorizedBatchNormalization)
    close(numpy(layer(x)), x / np.sqrt(1.0 + 1e-5))
