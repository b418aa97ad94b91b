"""What enters and leaves the layers of a model, call by call."""

import contextlib
import inspect
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
from keras import ops
from keras import tree

from keras_norm.models.kept_state import kept_counts
from keras_norm.models.layer_calls import Call
from keras_norm.models.layer_calls import host
from keras_norm.models.layer_calls import replaced_calls


class Record(NamedTuple):
    """One call of a layer.

    Args:
        name: of the layer after those of what it is in; of a further call
            with its number, "dense (2)".
        layer: the layer.
        inputs: its (first) input, a NumPy array.
        outputs: its (first) result, float64.
    """

    name: str
    layer: Any
    inputs: Any
    outputs: np.ndarray


def rows_of(layer, values, flatten=False, first=False):
    """Results of a layer, or their gradients, as rows of channels.

    Args:
        layer: the layer.
        values: (samples, ...), NumPy.
        flatten: one row for each sample, positions beside channels; else one
            for each position.
        first: where the layer does not say so: are the channels first?
    """
    if flatten or values.ndim < 3:
        return np.reshape(values, (len(values), -1))
    data_format = getattr(layer, "data_format", None)
    first = data_format == "channels_first" if data_format else first
    if first:
        values = np.moveaxis(values, 1, -1)
    return np.reshape(values, (-1, values.shape[-1]))


@contextlib.contextmanager
def changed_results(chosen, change, before_activation=False):
    """Within the block, layers give what a function makes of their results.

    Args:
        chosen: (name, layer) of each.
        change: function of (name of the call, layer, input, result).
        before_activation: change what the layer's activation is given.
    """
    calls: dict = {}

    def replaced(name, layer):
        def call(own, args, kwargs):
            calls[name] = calls.get(name, 0) + 1
            label = name if calls[name] == 1 else f"{name} ({calls[name]})"
            inputs = Call(own, args, kwargs).inputs

            def changed(result):
                return change(label, layer, inputs, result)

            if before_activation:
                with changed_activation(layer, changed):
                    return own(*args, **kwargs)
            result = own(*args, **kwargs)
            first, *rest = tree.flatten(result)
            return tree.pack_sequence_as(result, [changed(first), *rest])

        return call

    pairs = [(layer, replaced(name, layer)) for name, layer in chosen]
    with replaced_calls(pairs):
        yield


@contextlib.contextmanager
def changed_activation(layer, changed):
    """The layer's activation, of what a function makes of its input."""
    activation = layer.activation
    own = vars(layer).get("activation")

    def function(h):
        h = changed(h)
        return h if activation is None else activation(h)

    # Below the tracking of Keras; PyTorch keeps an activation that is a layer
    # elsewhere.
    object.__setattr__(layer, "activation", function)
    try:
        yield
    finally:
        if own is None and activation is not None:
            object.__delattr__(layer, "activation")
        else:
            object.__setattr__(layer, "activation", own)


def recorded(model, x, chosen, training, before_activation=False) -> list:
    """`Record`s of a forward pass, in the order of the calls.

    Statistics and seeds stay as they are. What is not a float tensor is left
    out.
    """
    records: list = []

    def record(name, layer, inputs, result):
        kind = keras.backend.standardize_dtype(result.dtype)
        if "float" in kind:
            inputs = ops.convert_to_numpy(inputs)
            records.append(Record(name, layer, inputs, host(result)))
        return result

    takes = inspect.signature(model.call).parameters
    options = {"training": training} if "training" in takes else {}
    x = tree.map_structure(ops.convert_to_tensor, x)
    with (
        kept_counts(model),
        keras.StatelessScope(collect_losses=True),
        changed_results(chosen, record, before_activation),
    ):
        model(x, **options)
    return records
