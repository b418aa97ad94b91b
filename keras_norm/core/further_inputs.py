"""Further inputs of a layer, handed on in a list.

Keras gives a layer the mask that came with its input, but not where there is a
second argument: `layer(x, style)` would see padding that `layer([x, style])`
does not.
"""

import inspect

import keras


class FurtherInputs(keras.layers.Layer):
    """A layer whose `call` takes further inputs one by one or in a list."""

    # What `call` takes after the input: all names, and those of inputs.
    call_names: tuple = ()
    further_inputs: tuple = ()

    def __init_subclass__(cls, **kwargs):
        """Read the names once: compilers do not follow `inspect`."""
        super().__init_subclass__(**kwargs)
        if "call" not in vars(cls):
            return
        cls.call_names = tuple(inspect.signature(cls.call).parameters)[2:]
        if "further_inputs" not in vars(cls) and "mask" in cls.call_names:
            cls.further_inputs = tuple(
                name
                for name in cls.call_names
                if name != "training" and not name.endswith("mask")
            )

    def __call__(self, inputs, *args, **named):
        """As Keras, with all inputs in a list."""
        given = dict(zip(self.call_names, args, strict=False))
        fits = len(given) == len(args) and not given.keys() & named.keys()
        if fits and not isinstance(inputs, (list, tuple)):
            together, all_named = [inputs], {**given, **named}
            for name in self.further_inputs:
                if not is_tensor(all_named.get(name)):
                    break
                together.append(all_named.pop(name))
            if len(together) > 1:
                return super().__call__(together, **all_named)
        return super().__call__(inputs, *args, **named)


def is_tensor(value) -> bool:
    """True for tensors and arrays, symbolic ones included."""
    return hasattr(value, "shape") and hasattr(value, "dtype")
