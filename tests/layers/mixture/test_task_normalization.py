"""TaskNorm: contexts that are stored, and contexts that are given."""

import numpy as np
import pytest

from contract.method import numpy
from contract.method import scramble
from contract.method import values
from contract.tolerances import close
from contract.tolerances import computed
from gradients import gradients
from keras_norm.layers import BatchNormalization
from keras_norm.layers import InstanceNormalization
from keras_norm.layers import TaskNormalization
from oracles import ORACLES

# Contexts may have another size.
CONTEXT, TARGET = (6, 4, 3, 8), (6, 2, 3, 8)


def data(shape=CONTEXT, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 2.0, shape).astype("float32")


def built(**options):
    layer = TaskNormalization(**options)
    layer.build(CONTEXT)
    scramble(layer)
    return layer


def test_the_ends_of_alpha():
    x, upstream = data(), data(seed=1)
    twins = {
        1e4: BatchNormalization(epsilon=1e-5, momentum=0.0),
        -1e4: InstanceNormalization(epsilon=1e-5),
    }
    for offset, twin in twins.items():
        layer = TaskNormalization(unbiased=False)
        layer.build(CONTEXT)
        layer.offset.assign(offset)
        ours, theirs = (gradients(t, [x], upstream) for t in (layer, twin))
        close(ours.outputs, theirs.outputs, entries=x.size)
        close(ours.inputs[0], theirs.inputs[0], entries=x.size)
        # MetaBN: what comes after is normalized by the context.
        after = data(seed=2)
        close(numpy(layer(after)), numpy(twin(after)), entries=x.size)


@pytest.mark.parametrize("augment", ["instance", "layer"])
def test_a_context_that_is_given(augment):
    layer = built(augment=augment)
    context, target = data(shift=1e4), data(TARGET, 1, shift=1e4)
    before = values(layer)[1]
    given = numpy(layer(target, context))
    for name, value in values(layer)[1].items():
        np.testing.assert_array_equal(value, before[name])
    # The same in two calls, but for the rounding of what is stored.
    layer(context, training=True)
    stored = values(layer)[1]
    np.testing.assert_allclose(numpy(layer(target)), given, atol=1e-3)
    # In training the context is stored, not the target.
    layer([target, context], training=True)
    for name, value in values(layer)[1].items():
        np.testing.assert_array_equal(value, stored[name])


def test_values_and_gradients_with_a_context():
    layer = built()
    weights, state = values(layer)
    context, target = data(), data(TARGET, 1)
    masks = [
        np.random.default_rng(3).uniform(size=shape[:3]) > 0.3
        for shape in (TARGET, CONTEXT)
    ]
    # One sample of the context takes no part.
    masks[1][2] = False
    held = np.where(masks[1][..., None], context, np.float32(np.nan))
    y = numpy(layer([target, held], training=True, mask=masks))
    oracle = ORACLES["TaskNormalization"]
    expected, new = oracle([target, context], {}, weights, state, True, masks)
    close(y[masks[0]], expected[masks[0]], entries=context.size)
    for name, value in values(layer)[1].items():
        close(value, new[name], entries=context.size)
    assert numpy(layer.context_size) == 5

    upstream = data(TARGET, 2)
    found = gradients(layer, [[target, context]], upstream).inputs[0]
    rng = np.random.default_rng(4)
    along = [rng.normal(size=g.shape) for g in found]

    def total(step):
        moved = [
            t + step * v for t, v in zip((target, context), along, strict=True)
        ]
        y = oracle(moved, {}, weights, state, True)[0]
        return np.sum(upstream * y)

    expected = (total(1e-5) - total(-1e-5)) / 2e-5
    terms = [np.sum(g * v) for g, v in zip(found, along, strict=True)]
    assert abs(terms[1]) > 1e-2
    scale = sum(
        np.sum(np.abs(g * v)) for g, v in zip(found, along, strict=True)
    )
    assert abs(sum(terms) - expected) < computed(context.size, scale)


def test_an_empty_context_is_not_stored():
    layer = built()
    before = layer.get_weights()
    y = layer(
        data(TARGET),
        data(),
        training=True,
        context_mask=np.zeros(6, "bool"),
    )
    assert np.all(np.isfinite(numpy(y)))
    for value, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_errors():
    with pytest.raises(ValueError, match="`augment` must be one of"):
        TaskNormalization(augment="batch")
    with pytest.raises(ValueError, match="must have positions"):
        TaskNormalization().build((6, 8))
    with pytest.raises(ValueError, match="`context` must have as many"):
        TaskNormalization()(data(), data((6, 4, 3, 5)))
    layer = built()
    with pytest.raises(ValueError, match="`context` must have as many"):
        layer(data(), data((6, 4, 3, 5)))
