"""Maps brought to the sizes of other data, one spatial axis after the other.

With explicit indices: `ops.image.resize` wants two axes of known sizes, and its
nearest entry is not floor(i * size / new size), which programs in PyTorch have.
"""

import numpy as np
from keras import ops


def known(*sizes):
    """Are all sizes numbers?"""
    return all(isinstance(n, int) for n in sizes)


def counted(length, size, dtype):
    """(0 ... size - 1, length, size): in NumPy if the sizes are known."""
    if known(length, size):
        return np.arange(size, dtype=dtype), length, size
    places = ops.arange(size, dtype="int32")
    return tuple(ops.cast(t, dtype) for t in (places, length, size))


def nearest(t, axis, size):
    """Entry floor(i * length / size) at each place i."""
    length = ops.shape(t)[axis]
    if known(length, size) and length == size:
        return t
    places, length, size = counted(length, size, "int32")
    return ops.take(t, places * length // size, axis=axis)


def linear(t, axis, size):
    """The two nearest entries, mixed; places lie at the middle of entries."""
    length = ops.shape(t)[axis]
    if known(length, size) and length == size:
        return t
    library = np if known(length, size) else ops
    dtype = "float64" if library is np else t.dtype
    places, length, size = counted(length, size, dtype)
    places = (places + 0.5) * (length / size) - 0.5
    places = library.maximum(places, 0.0 * places)
    # The last entry has none behind it: it is its own neighbour.
    last = 0.0 * places + (length - 1)
    low = library.minimum(library.floor(places), last)
    high = library.minimum(low + 1.0, last)
    share = ops.convert_to_tensor(places - low, t.dtype)
    rank = len(t.shape)
    share = ops.reshape(share, [-1 if a == axis else 1 for a in range(rank)])
    low, high = (
        ops.take(t, ops.cast(i, "int32"), axis=axis) for i in (low, high)
    )
    return low + (high - low) * share


INTERPOLATIONS = {"nearest": nearest, "bilinear": linear}


def resized(t, x, axis, interpolation="nearest"):
    """`t` with the spatial sizes of x, channels of both at `axis`."""
    axis = axis % len(x.shape)
    sizes = ops.shape(x)
    for a in range(1, len(x.shape)):
        if a != axis:
            t = INTERPOLATIONS[interpolation](t, a, sizes[a])
    return t
