"""The arguments of one call of a layer, and calls with others."""

import contextlib
import functools
import inspect

import keras
import numpy as np
from keras import ops

from keras_norm.core.layer import statistics_dtype


class Call:
    """The arguments of one call of a layer, by name.

    Args:
        function: the layer's own `call`.
        args: positional arguments.
        kwargs: arguments by name.
    """

    def __init__(self, function, args, kwargs):
        self.function = function
        self.bound = inspect.signature(function).bind(*args, **kwargs)
        self.first = next(iter(self.bound.arguments))

    @property
    def inputs(self):
        """The first argument; of a list its first."""
        x = self.bound.arguments[self.first]
        return x[0] if isinstance(x, (list, tuple)) else x

    def second(self, name):
        """An argument by name, or what stands second in a list; or None."""
        found = self.bound.arguments.get(name)
        x = self.bound.arguments[self.first]
        if found is None and isinstance(x, (list, tuple)) and len(x) > 1:
            return x[1]
        return found

    @property
    def mask(self):
        """The mask of the first input, or None."""
        found = self.bound.arguments.get("mask")
        return found[0] if isinstance(found, (list, tuple)) else found

    @property
    def data(self):
        """The first input, wide enough for statistics, without gradient."""
        x = ops.convert_to_tensor(self.inputs)
        return ops.stop_gradient(ops.cast(x, statistics_dtype(x)))

    def run(self, training=False):
        """What the layer computes."""
        if "training" in self.bound.signature.parameters:
            self.bound.arguments["training"] = training
        return self.function(*self.bound.args, **self.bound.kwargs)


@contextlib.contextmanager
def replaced_calls(replacements):
    """Other functions in the place of `call`, for the duration of a block.

    Args:
        replacements: {layer: function of (own call, args, kwargs)}.
    """
    done = []
    try:
        for layer, function in replacements:
            before = vars(layer).get("call")
            # Below the tracking of Keras.
            object.__setattr__(layer, "call", through(layer.call, function))
            done.append((layer, before))
        yield
    finally:
        for layer, before in reversed(done):
            if before is None:
                object.__delattr__(layer, "call")
            else:
                object.__setattr__(layer, "call", before)


def through(own, function):
    """A call of the same signature that leaves all to another function."""

    @functools.wraps(own)
    def call(*args, **kwargs):
        return function(own, args, kwargs)

    return call


def wide(dtype) -> str:
    """A dtype of at least float32."""
    name = keras.backend.standardize_dtype(dtype)
    return "float64" if name == "float64" else "float32"


def host(tensor) -> np.ndarray:
    """A tensor or variable as NumPy float64."""
    tensor = ops.convert_to_tensor(tensor)
    tensor = ops.cast(tensor, wide(tensor.dtype))
    return np.asarray(ops.convert_to_numpy(tensor), "float64")


def assign(variable, value) -> None:
    """Give a variable the values of a NumPy array, whatever its rank."""
    value = np.asarray(value, wide(variable.dtype))
    value = np.reshape(value, variable.shape)
    variable.assign(ops.cast(ops.convert_to_tensor(value), variable.dtype))
