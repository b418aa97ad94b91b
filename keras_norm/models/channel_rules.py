"""What layers do with channels: rules, and those of layers without kernels.

Values of channels are arrays with an entry for each: a constant that the
channel has at every position of every sample, NaN where it varies, or a
factor.
"""

from typing import Any

import keras
import numpy as np

from keras_norm.models.channels import Channels
from keras_norm.models.channels import Places
from keras_norm.models.layer_graph import LayerCall


class Rule:
    """What a layer does with channels; this one knows nothing about it.

    Args:
        layer: the layer, or a bare operation.

    Attributes:
        uses_channels: does it take them apart, as kernels do? They end here,
            and have to be constant to be removed.
        homogeneous: does factor times input give factor times output, for
            factors above 0?
        ids_in, ids_out: the channels of its weights, where it has some.
    """

    uses_channels = False
    homogeneous = False
    ids_in: np.ndarray | None = None
    ids_out: np.ndarray | None = None

    def __init__(self, layer):
        self.layer: Any = layer

    @property
    def label(self) -> str:
        """Name and class, for messages."""
        return f"{self.layer.name!r}, a {type(self.layer).__name__},"

    def connect(
        self, channels: Channels, call: LayerCall, places: list[Places]
    ) -> Places | None:
        """Which channels the output of a call has; None: nobody knows."""
        return None

    def refuse(self, channels, places, why="couples channels") -> None:
        """Channels that must stay since they meet this layer."""
        for one in places:
            channels.pin(one.ids, f"{self.label} {why}")

    def constants(self, call, values, made) -> np.ndarray:
        """Constants of the output, given those of the inputs.

        Args:
            call: the call.
            values: of each input.
            made: places of the output.
        """
        return np.full(len(made), np.nan)

    def carried(self, values, made) -> np.ndarray:
        """Values of the output, where each entry is one of the inputs'."""
        return values[0]

    def ties(self, values, made) -> bool:
        """Do all inputs have the channels of the output?"""
        return False

    def smaller(self, keep, call, shift=None) -> Any:
        """The layer with fewer channels; None: a copy of it will do.

        Args:
            keep: {attribute `ids_...` of the rule: which places stay}.
            call: one call of the layer.
            shift: what its bias, or its mean, takes.
        """
        return None


class Through(Rule):
    """The channels of the input are those of the output."""

    def connect(self, channels, call, places):
        if len(call.outputs) != 1 or len(places) != 1:
            return None
        shape, (own,) = call.outputs[0].shape, places
        same = own.axis < len(shape) and shape[own.axis] == len(own)
        return own if same else None


class Elementwise(Through):
    """One function of every entry."""

    def __init__(self, layer, homogeneous=False):
        super().__init__(layer)
        self.homogeneous = homogeneous

    def constants(self, call, values, made):
        return evaluated(call, made, values)


class Pool(Through):
    """Averages or greatest entries over positions, copies, cuts of them."""

    def __init__(self, layer, only_zero=False, homogeneous=True):
        super().__init__(layer)
        self.homogeneous = homogeneous
        # Padded zeros, or chance, leave no other constant than 0.
        self.only_zero = only_zero

    def constants(self, call, values, made):
        x = values[0]
        chance = self.only_zero or call.training
        return np.where(x == 0, x, np.nan) if chance else x


class GlobalPool(Rule):
    """Averages or greatest entries over all positions."""

    homogeneous = True

    def connect(self, channels, call, places):
        own = places[0]
        first = self.layer.data_format == "channels_first"
        if own.axis != (1 if first else len(call.inputs[0].shape) - 1):
            return None
        rank = len(call.outputs[0].shape)
        return Places(1 if first else rank - 1, own.ids)

    def constants(self, call, values, made):
        return values[0]


class Flatten(Rule):
    """Positions and channels become channels."""

    homogeneous = True

    def connect(self, channels, call, places):
        own, shape = places[0], call.inputs[0].shape
        first = self.layer.data_format == "channels_first"
        axis = 1 if first else len(shape) - 1
        if own.axis != axis or None in shape[1:] or not len(own):
            return None
        # Channels-first maps are turned before they are flattened.
        times = int(np.prod(shape[1:])) // len(own)
        return Places(1, np.tile(own.ids, times))

    def constants(self, call, values, made):
        return self.carried(values, made)

    def carried(self, values, made):
        return np.tile(values[0], len(made) // len(values[0]))


class Reshape(Rule):
    """Other positions; the last axis, that of the channels, stays."""

    homogeneous = True

    def connect(self, channels, call, places):
        own = places[0]
        given, made = call.inputs[0].shape, call.outputs[0].shape
        last = own.axis == len(given) - 1 and given[-1] == made[-1]
        if not last or None in given[1:] or not len(own):
            return None
        if self.ids_in is not None:
            channels.tie(self.ids_in, own.ids, self.layer.name)
        self.ids_in = own.ids
        return Places(len(made) - 1, own.ids)

    def constants(self, call, values, made):
        return values[0]

    def smaller(self, keep, call, shift=None):
        kept = keep["ids_in"]
        if kept.all():
            return None
        config = self.layer.get_config()
        config["target_shape"] = (*config["target_shape"][:-1], int(kept.sum()))
        return type(self.layer).from_config(config)


def evaluated(call, made, values) -> np.ndarray:
    """What a call makes of constants; NaN where one of them varies."""
    known = np.all(
        [np.broadcast_to(~np.isnan(v), len(made)) for v in values], axis=0
    )
    if not known.any():
        return np.full(len(made), np.nan)
    tensors = []
    for t, value in zip(call.inputs, values, strict=True):
        shape = np.ones(len(t.shape), int)
        shape[made.axis] = len(value)
        filled = np.nan_to_num(value).reshape(shape).astype("float32")
        tensors.append(keras.ops.cast(filled, t.dtype))
    # By order: arguments within nested models are tensors of their own.
    given = iter(tensors)

    def argument(x):
        return next(given) if isinstance(x, keras.KerasTensor) else x

    args, kwargs = keras.tree.map_structure(argument, (call.args, call.kwargs))
    y = keras.ops.cast(call.layer(*args, **kwargs), "float32")
    y = keras.ops.convert_to_numpy(y).astype("float64")
    return np.where(known, y.reshape(-1), np.nan)
