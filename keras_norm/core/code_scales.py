"""Ranges of integer codes and what a code is worth, as users give them."""

import math

import numpy as np

from keras_norm import errors

# Products and sums are in int32.
LIMIT = 2**31


def checked_range(name, value) -> tuple[int, int]:
    """Two integers, the first not the greater."""
    try:
        low, high = value
        fits = int(low) == low and int(high) == high
    except (TypeError, ValueError):
        fits = False
    if not fits or not -LIMIT <= low <= high < LIMIT:
        raise errors.received(
            f"`{name}` must be (least, greatest), two integers of 32 bits.",
            **{name: value},
        )
    return int(low), int(high)


def checked_scale(name, value, channels) -> np.ndarray:
    """A positive number for each channel."""
    found = np.asarray(value, "float64")
    fits = found.shape in ((), (channels,)) and np.all(found > 0)
    if not fits or not math.isfinite(found.sum()):
        raise errors.received(
            f"`{name}` must be a positive number, or one for each channel.",
            **{name: value, "channels": channels},
        )
    return np.broadcast_to(found, (channels,))
