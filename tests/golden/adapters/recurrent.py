"""Adapters of recurrent layers."""

import dataclasses
import re

import keras
import numpy as np
from keras import ops

import keras_norm as kn
from golden.plans import Link
from golden.plans import Plan
from golden.plans import same

# The gates of an LSTM as Keras orders them.
GATES = "ifgo"


class TimeMajor(keras.layers.Layer):
    """A recurrent layer on (time, batch, features), with initial states."""

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, x_shape, h_shape=None, c_shape=None):
        """Build the layer for sequences of this length."""
        if isinstance(x_shape[0], (list, tuple)):
            x_shape = x_shape[0]
        steps, batch, features = x_shape
        self.layer.build((batch, steps, features))

    def call(self, x, h=None, c=None, training=False):
        """(time, batch, units)."""
        x = ops.transpose(x, (1, 0, 2))
        y = self.layer(x, initial_state=[h, c], training=training)
        return ops.transpose(y, (1, 0, 2))


@dataclasses.dataclass(frozen=True)
class Repeats(Link):
    """A parameter that is already in the weight."""

    def write(self, weights, values):
        """Leave the weight."""


def batch_normalized_lstm(row):
    """Gates in the order of the row, offsets that repeat the bias."""
    order = row.config["gate_order"].split(",")

    def permuted(order, wanted):
        def permute(values):
            blocks = np.split(np.asarray(values), len(order), axis=-1)
            return np.concatenate([blocks[order.index(g)] for g in wanted], -1)

        return permute

    to, back = permuted(order, GATES), permuted(list(GATES), order)

    def plain(weight, part=..., to=same, back=same, link=Link):
        return link(f"inner/lstm_cell/{weight}", part, to, back)

    def gates(weight, part=...):
        return plain(weight, part, to, back)

    repeated = sum(
        row.arrays[name]
        for name, role in row.parameters.items()
        if role.startswith("redundant beta")
    )
    links = {
        "input kernel (in,4H)": gates("kernel"),
        "recurrent kernel (H,4H)": gates("recurrent_kernel"),
        "bias (4H,)": plain("bias", ..., lambda b: to(b + repeated), back),
        "redundant beta of W_x x: add it to bias": plain("bias", link=Repeats),
        "redundant beta of W_h h: add it to bias": plain("bias", link=Repeats),
        "gamma of W_x x": gates("input_gamma"),
        "gamma of W_h h": gates("recurrent_gamma"),
        "gamma of the cell state": plain("state_gamma"),
        "beta of the cell state": plain("state_beta"),
    }
    places = {"W_x x": "input", "W_h h": "recurrent", "the cell state": "state"}
    pattern = re.compile(r"moving (mean|variance) of (.+), time step (\d+)")
    for role in row.state.values():
        kind, place, step = pattern.fullmatch(role).groups()
        make = plain if place == "the cell state" else gates
        links[role] = make(f"{places[place]}_moving_{kind}", int(step))
    arguments = {
        "max_time_steps": row.config["max_length"],
        "momentum": row.keep_momentum,
        "unbiased": bool(row.unbiased_moving_variance),
        "epsilon": row.epsilon,
        "use_bias": row.config["use_bias"],
    }
    units = next(
        row.shapes[name][0]
        for name, role in row.parameters.items()
        if role.startswith("recurrent kernel")
    )

    def make(axis, **keywords):
        layer = kn.layers.BatchNormalizedLSTM(
            units, return_sequences=True, name="inner", **arguments, **keywords
        )
        return TimeMajor(layer, **keywords)

    return Plan(links=links, affine=False, make=make, axes=(-1,))


ADAPTERS = {"BatchNormalizedLSTM": batch_normalized_lstm}
