"""Tensors in the place of a layer's variables, for the duration of one call.

The attribute that holds the variable is replaced, below the tracking of Keras
(and of torch.nn.Module, which keeps the parameter elsewhere), and put back
whatever happens. Variables are never assigned, so that weights, optimizer
slots, losses and seeds of the layer stay what they are. Two Python threads
must not call one layer at the same time.
"""

import contextlib


@contextlib.contextmanager
def substituted(places):
    """Hold tensors in the place of variables.

    Args:
        places: (owner, attribute, tensor) of each.
    """
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in places]
    try:
        for owner, name, tensor in places:
            object.__setattr__(owner, name, tensor)
        yield
    finally:
        for owner, name, value in reversed(before):
            object.__setattr__(owner, name, value)
