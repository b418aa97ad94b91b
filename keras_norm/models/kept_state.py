"""The state of a layer or model, put back after an analysis."""

import contextlib

from keras import ops

from keras_norm.core.update_count import UpdateCount

# Of a count of updates, which is no weight.
FLAGS = ("known", "_trained", "_checked")


@contextlib.contextmanager
def kept_state(layer):
    """Weights, statistics, seeds and counts as they were, after the block.

    Args:
        layer: a layer or model, or anything else, of which nothing is kept.
    """
    saved = [(v, ops.copy(v)) for v in getattr(layer, "variables", ())]
    with kept_counts(layer):
        try:
            yield
        finally:
            for variable, value in saved:
                variable.assign(value)


@contextlib.contextmanager
def kept_counts(layer):
    """What layers know of their updates outside of Keras' variables.

    A stateless scope keeps variables, but not what Python remembers.
    """
    saved = []
    for one in getattr(layer, "_flatten_layers", tuple)():
        count = getattr(one, "updates", None)
        if isinstance(count, UpdateCount):
            saved += [(count, n, getattr(count, n)) for n in FLAGS]
            saved.append((count.variable, "told", count.variable.told))
    try:
        yield
    finally:
        for owner, name, value in saved:
            setattr(owner, name, value)
