"""What layers and operations of several tensors do with channels."""

import keras
import numpy as np

from keras_norm.models.channel_rules import Rule
from keras_norm.models.channel_rules import evaluated
from keras_norm.models.channels import Places


class Merge(Rule):
    """A function of entries of several tensors: their channels are tied.

    Args:
        layer: the layer.
        kind: "sum", or "product" where a 0 makes a 0 of anything.
    """

    def __init__(self, layer, kind):
        super().__init__(layer)
        self.kind = kind
        self.homogeneous = kind != "product"

    def connect(self, channels, call, places):
        rank = len(call.outputs[0].shape)
        # A single channel may meet each of the others'.
        wide = [p for p in places if len(p) > 1] or places
        same = all(len(t.shape) == rank for t in call.inputs)
        same = same and len({(p.axis, len(p)) for p in wide}) == 1
        if not same:
            return None
        for one in wide[1:]:
            channels.tie(wide[0].ids, one.ids, self.layer.name)
        narrow = [p for p in places if len(p) < len(wide[0])]
        self.refuse(channels, narrow, "spreads a single channel over others")
        return wide[0]

    def constants(self, call, values, made):
        found = evaluated(call, made, values)
        if self.kind == "product":
            zero = [np.broadcast_to(v == 0, found.shape) for v in values]
            found = np.where(np.any(zero, axis=0), 0.0, found)
        return found

    def carried(self, values, made):
        return max(values, key=len)

    def ties(self, values, made):
        return True


class Bare(Merge):
    """An operation of keras.ops on tensors, or on one and a number."""

    def connect(self, channels, call, places):
        given = keras.tree.flatten((call.args, call.kwargs))
        others = [x for x in given if not isinstance(x, keras.KerasTensor)]
        if not all(isinstance(x, (int, float)) for x in others):
            # A constant with an entry for each channel, for example.
            return None
        if others:
            # Not a division of a number by the tensor.
            first = isinstance(given[0], keras.KerasTensor)
            self.homogeneous = self.kind == "product" and first
        return super().connect(channels, call, places)

    def constants(self, call, values, made):
        found = evaluated(call, made, values)
        many = len(values) > 1
        return super().constants(call, values, made) if many else found


class Quotient(Bare):
    """The same, where 0 in the place of the divisor makes no 0."""

    def __init__(self, layer):
        super().__init__(layer, "quotient")
        self.homogeneous = False


class Concatenate(Rule):
    """Channels side by side, or positions of the same channels."""

    homogeneous = True

    def connect(self, channels, call, places):
        axis = self.layer.axis % len(call.outputs[0].shape)
        if any(p.axis != places[0].axis for p in places):
            return None
        if axis == places[0].axis:
            return Places(axis, np.concatenate([p.ids for p in places]))
        for one in places[1:]:
            channels.tie(places[0].ids, one.ids, self.layer.name)
        return places[0]

    def constants(self, call, values, made):
        return self.carried(values, made)

    def carried(self, values, made):
        if sum(map(len, values)) == len(made):
            return np.concatenate(values)
        same = np.all([v == values[0] for v in values], axis=0)
        return np.where(same, values[0], np.nan)

    def ties(self, values, made):
        return sum(map(len, values)) != len(made)
