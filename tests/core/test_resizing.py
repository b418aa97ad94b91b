"""Maps of another size: which entries count.

Sizes that are not known are tested in tests/contract.
"""

import keras
import numpy as np
import pytest

from contract.tolerances import close
from keras_norm.core.resizing import resized

# Halved, shrunk, as it is, and grown by no whole factor.
SIZES = [(12, 6), (7, 4), (5, 5), (3, 7)]


def mixed(t, axis, size):
    """Between the entries around (i + 1/2) length / size - 1/2."""
    length = t.shape[axis]
    found = []
    for i in range(size):
        at = min(max((i + 0.5) * length / size - 0.5, 0.0), length - 1.0)
        low, high = int(np.floor(at)), int(np.ceil(at))
        share = at - low
        below, above = np.take(t, low, axis), np.take(t, high, axis)
        found.append((1 - share) * below + share * above)
    return np.stack(found, axis)


def picked(t, axis, size):
    """Entries floor(i * length / size)."""
    return np.take(t, [i * t.shape[axis] // size for i in range(size)], axis)


FORMULAS = {"nearest": picked, "bilinear": mixed}


def case(length, size):
    """A map, data of other sizes, and the map in their sizes by `formula`."""
    m = np.random.default_rng(0).normal(size=(2, length, 3, 4))
    x = np.zeros((2, size, 5, 8), "float32")
    return m.astype("float32"), x


@pytest.mark.parametrize("length, size", SIZES)
@pytest.mark.parametrize("interpolation", FORMULAS)
def test_entries(interpolation, length, size):
    m, x = case(length, size)
    formula = FORMULAS[interpolation]
    expected = formula(formula(m.astype("float64"), 1, size), 2, 5)
    for axis in (-1, 1):
        given = [np.moveaxis(t, -1, axis) for t in (m, x)]
        found = resized(
            *map(keras.ops.convert_to_tensor, given),
            axis=axis,
            interpolation=interpolation,
        )
        found = np.moveaxis(keras.ops.convert_to_numpy(found), axis, -1)
        close(found, expected)
