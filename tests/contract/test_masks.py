"""Masks, by the column of the catalog.

"statistics": masked entries take no part, may hold anything, and a masked
result is the result on what is left. "passes": the mask goes on, nothing else.
"""

import keras
import numpy as np
import pytest

from contract.calls import answer
from contract.method import numpy
from contract.method import outputs
from contract.method import values
from contract.methods import METHODS
from contract.methods import first_of_each
from contract.methods import rows
from contract.tolerances import close
from gradients import gradients

STATISTICS = [m for m in METHODS if m.mask_behaviour == "statistics"]
PASSES = [m for m in METHODS if m.mask_behaviour == "passes"]
# Where consecutive samples are cut into parts, leaving some out is not the same
# as masking them; those are compared with the formulas only. Where an entry of
# weight 2 counts twice, one of weight 0 counts not at all: one test for both.
CUT = [m for m in STATISTICS if not m.sees_order]
STEPPED = [m for m in CUT if 3 in m.ranks and m.any_size]
LONE = [m for m in STATISTICS if m.lone_channel]
# Further inputs whose last axis is not the channels of the first.
WHOLE = (("features",), ("soft labels",), ("layout",), ("region",))


def call(method, inputs, mask=None, training=True, layer=None):
    """(outputs, state) of a layer that has not been called."""
    layer = layer or method.shared(len(inputs[0].shape))
    given = {} if mask is None else {"mask": mask}
    y = answer(layer, method.given(inputs), training=training, **given)
    return outputs(y), values(layer)[1]


def aligned(mask, array):
    mask = np.asarray(mask, dtype="float32") > 0
    mask = mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))
    return np.broadcast_to(mask, array.shape)


def some_mask(shape, rank):
    """The fourth sample, or about a third of all entries."""
    if rank == 1:
        return np.arange(shape[0]) != 3
    mask = np.random.default_rng(11).uniform(size=shape[:rank]) > 0.35
    mask[:, 0] = True
    return mask


def same(a, b):
    for x, y in zip(a, b, strict=True):
        close(x, y, entries=576)


def same_state(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        close(value, b[name], entries=576)


# Statistics -------------------------------------------------------------------


@pytest.mark.parametrize("method", rows(STATISTICS))
def test_what_masked_entries_hold_does_not_matter(method):
    # At every rank of the mask: tests/oracle_comparison.
    x, *others = method.inputs()
    mask = some_mask(x.shape, 2)
    seen = aligned(mask, x)
    y, state = call(method, [x, *others], mask)
    for other in (np.nan, 1e6):
        held = np.where(seen, x, np.float32(other))
        y2, state2 = call(method, [held, *others], mask.astype("float32"))
        for a, b in zip(y, y2, strict=True):
            of_y = aligned(mask, a)
            close(b[of_y], a[of_y], entries=x.size)
        same_state(state2, state)


@pytest.mark.parametrize("method", rows(STATISTICS))
def test_gradients_do_not_see_masked_entries(method):
    x, *others = method.inputs()
    mask = some_mask(x.shape, min(3, method.rank - 1))
    seen = aligned(mask, x)
    upstream = np.random.default_rng(0).normal(size=method.result(x.shape))
    upstream = np.where(aligned(mask, upstream), upstream, 0)
    found = []
    for held in (x, np.where(seen, x, np.float32(np.nan))):
        given = method.given([held, *others])
        layer = method.shared()
        found.append(gradients(layer, [given], upstream, mask=mask))
    for a, b in zip(*(inputs_of(g) for g in found), strict=True):
        if a is None:
            continue
        if a.shape == x.shape and a is inputs_of(found[0])[0]:
            assert np.all(np.isfinite(b))
            a, b = a[seen], b[seen]
        close(b, a, entries=x.size)
    for name, a in found[0].weights.items():
        if name not in method.sees_padding:
            close(found[1].weights[name], a, entries=x.size)


def inputs_of(found):
    first = found.inputs[0]
    return first if isinstance(first, list) else [first]


@pytest.mark.parametrize("method", rows(STATISTICS))
def test_what_other_entries_hold_does_matter(method):
    x, *others = method.inputs()
    mask = some_mask(x.shape, 2)
    y, state = call(method, [x, *others], mask)
    changed = x.copy()
    first = (*(0,) * (x.ndim - 1), method.keeping)
    changed[first] += 30.0
    y2, state2 = call(method, [changed, *others], mask)
    difference = np.abs(y[0] - y2[0])
    difference[first] = 0.0
    constant = method.source != "batch" and not method.mixes
    if method.label != "renorm" and not constant:
        # Which normalizes by the state alone, if its correction is not clipped.
        assert np.max(difference[aligned(mask, difference)]) > 1e-3
    moved = [
        np.max(np.abs(state[name] - state2[name])) for name in method.state
    ]
    assert not moved or max(moved) > 1e-3


@pytest.mark.parametrize(
    "method", rows([m for m in CUT if "samples" not in m.counts])
)
def test_masked_samples_are_as_if_cut_out(method):
    inputs = method.inputs()
    mask = np.array([True, True, False, True, False, True])
    y, state = call(method, inputs, mask)
    left, kept = call(method, [a[mask] for a in inputs])
    same([t[mask] for t in y], left)
    same_state(state, kept)


@pytest.mark.parametrize(
    "method", rows([m for m in STEPPED if "steps" not in m.counts])
)
def test_padded_time_steps_are_as_if_cut_out(method):
    x, *others = method.inputs(3)
    mask = np.broadcast_to(np.arange(5) >= 2, x.shape[:2])
    padded = np.where(mask[..., None], x, 0.0).astype("float32")
    y, state = call(method, [padded, *others], mask)
    left, kept = call(method, [x[:, 2:], *others])
    same([t[:, 2:] for t in y], left)
    same_state(state, kept)


@pytest.mark.parametrize(
    "method", rows([m for m in CUT if "samples" in m.counts])
)
def test_weight_two_is_the_entry_twice(method):
    inputs = method.inputs()
    weights = np.array([1.0, 2.0, 0.0, 1.0, 2.0, 0.0], "float32")
    repeats = weights.astype(int)
    y, state = call(method, inputs, weights)
    twice = [np.repeat(a, repeats, axis=0) for a in inputs]
    expected, kept = call(method, twice)
    same([np.repeat(t, repeats, axis=0) for t in y], expected)
    same_state(state, kept)


@pytest.mark.parametrize(
    "method", rows([m for m in STEPPED if "steps" in m.counts])
)
def test_weight_two_is_the_time_step_twice(method):
    x, *others = method.inputs(3)
    steps = np.array([1.0, 2.0, 0.0, 2.0, 0.0], "float32")
    weights = np.broadcast_to(steps, x.shape[:2])
    repeats = steps.astype(int)
    y, state = call(method, [x, *others], weights)
    expected, kept = call(method, [np.repeat(x, repeats, axis=1), *others])
    same([np.repeat(t, repeats, axis=1) for t in y], expected)
    same_state(state, kept)


@pytest.mark.parametrize("method", rows(LONE))
def test_one_channel_with_a_mask(method):
    x, *others = [a[..., :1] if a.ndim > 1 else a for a in method.inputs()]
    if method.conditions in WHOLE:
        others = method.inputs()[1:]
    layer = method.make()
    method.build(layer, x.shape)
    mask = some_mask(x.shape, 2)
    y, _ = call(method, [x, *others], mask, layer=layer)
    assert y[0].shape == method.result(x.shape)
    assert np.all(np.isfinite(y[0]))


@pytest.mark.parametrize(
    "method", rows([m for m in STATISTICS if m.takes_axis])
)
def test_mask_of_channels_first_data(method):
    x, *others = method.inputs()
    mask = some_mask(x.shape, 2)
    y, state = call(method, [x, *others], mask)
    # The leading axes of channels-first data are samples and channels, so the
    # mask of places needs all of them.
    layer = method.built(axis=1)
    moved = [
        np.moveaxis(a, -1, 1) if a.ndim == x.ndim else a for a in (x, *others)
    ]
    full = np.broadcast_to(aligned(mask, x), x.shape)
    full = np.moveaxis(full, -1, 1)
    if method.whitens:
        # One mask for all channels: the axis of channels has size 1.
        full = full[:, :1]
    y1, state1 = call(method, moved, full, layer=layer)
    seen = aligned(mask, x)
    close(np.moveaxis(y1[0], 1, -1)[seen], y[0][seen], x.size)
    same_state(state1, state)


@pytest.mark.parametrize("method", rows(STATISTICS))
def test_fully_masked_batch(method):
    inputs = method.inputs()
    layer = method.shared()
    before = [numpy(v) for v in layer.non_trainable_weights]
    y = answer(
        layer, method.given(inputs), training=True, mask=np.zeros(6, "bool")
    )
    for t in outputs(y):
        assert np.all(np.isfinite(t))
    for a, variable in zip(before, layer.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(numpy(variable), a)


# Passing on -------------------------------------------------------------------


class Received(keras.layers.Layer):
    """The mask that arrives, as output."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs, mask=None):
        shape = keras.ops.shape(inputs)[:2]
        if mask is None:
            return keras.ops.full(shape, -1.0)
        return keras.ops.cast(mask, "float32")

    def compute_output_shape(self, inputs_shape):
        return inputs_shape[:2]


@pytest.mark.parametrize(
    "method",
    [
        m
        for m in first_of_each()
        if 3 in m.ranks and m.mask_behaviour != "refuses"
    ],
    ids=str,
)
def test_mask_goes_on(method):
    x, *others = method.inputs(3)
    x[:, 3:] = 0.0
    first = keras.Input(x.shape[1:])
    rest = [keras.Input(a.shape[1:], dtype=a.dtype.name) for a in others]
    y = method.shared(3)(method.given([keras.layers.Masking()(first), *rest]))
    y = y[0] if isinstance(y, (list, tuple)) else y
    model = keras.Model([first, *rest], Received()(y))
    arrived = numpy(model([x, *others]))
    np.testing.assert_array_equal(arrived, np.tile([1, 1, 1, 0, 0], (6, 1)))


@pytest.mark.parametrize(
    "method", rows([m for m in STATISTICS if 3 in m.ranks])
)
def test_mask_of_a_model_reaches_the_statistics(method):
    x, *others = method.inputs(3)
    x[:, 3:] = 0.0
    mask = np.broadcast_to(np.arange(5) < 3, x.shape[:2])
    first = keras.Input(x.shape[1:])
    rest = [keras.Input(a.shape[1:], dtype=a.dtype.name) for a in others]
    layer = method.shared(3)
    y = layer(method.given([keras.layers.Masking()(first), *rest]))
    model = keras.Model([first, *rest], y)
    found = outputs(model([x, *others], training=True))
    expected, state = call(method, [x, *others], mask)
    same(found, expected)
    same_state(values(layer)[1], state)


@pytest.mark.parametrize("method", rows(PASSES))
def test_a_mask_that_passes_changes_nothing(method):
    x, *others = method.inputs()
    layer = method.shared()
    y = outputs(answer(layer, method.given([x, *others]), training=True))
    axes = method.options.get("axis", -1)
    alone = min(a % x.ndim for a in np.atleast_1d(axes))
    for rank in range(1, alone + 1):
        mask = some_mask(x.shape, rank)
        handed = layer.compute_mask(method.given([x, *others]), mask)
        handed = handed[0] if isinstance(handed, (list, tuple)) else handed
        np.testing.assert_array_equal(handed, mask)
        seen = aligned(mask, x)
        held = np.where(seen, x, np.float32(np.nan))
        y2 = outputs(
            answer(layer, method.given([held, *others]), training=True)
        )
        for a, b in zip(y, y2, strict=True):
            seen = aligned(mask, a)
            np.testing.assert_array_equal(b[seen], a[seen])
