"""State that the call which reads it will also move."""

import keras
from keras import ops


def snapshot(t):
    """`t`, computed from state, as it is now.

    To be taken of all state that the data meet in a training call. PyTorch
    assigns in place: what was read may be a view of what is overwritten. And
    its compilers, to save memory, compute such tensors again in the backward
    pass, out of variables that have moved by then: gradients are wrong,
    silently. A copy and a stopped gradient are no obstacle to that (one of
    the compilers takes both out); an operation that they do not repeat is.
    Here that is to reverse an axis of size 1.
    """
    if keras.backend.backend() != "torch":
        return t
    return ops.flip(t[None], 0)[0]


def read(variable, dtype):
    """The variable in that dtype, as it is now: see `snapshot`."""
    return snapshot(ops.cast(variable, dtype))
