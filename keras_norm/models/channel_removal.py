"""Models without some of their channels, or with these masked."""

import keras
import numpy as np

from keras_norm.models.channel_activations import activation_name
from keras_norm.models.channel_choice import Choice
from keras_norm.models.channel_flow import ChannelFlow
from keras_norm.models.channel_kernels import Kernel
from keras_norm.models.channel_norms import Affine
from keras_norm.models.graph_copies import rebuilt
from keras_norm.models.layer_graph import function_of
from keras_norm.models.layer_graph import opened


def masked_copy(flow: ChannelFlow, choice: Choice) -> keras.Model:
    """A copy whose chosen gammas are 0, and betas that are not absorbed."""

    def replacement(layer):
        masked = choice.masks.get(id(layer))
        if masked is None or not masked.any():
            return None
        rule, call = flow.rules[id(layer)], flow.graph.calls_of(layer)[0]
        if not isinstance(rule, Affine):
            return None
        first = flow.channels.firsts(rule.ids_in)
        zero = np.isin(first, list(choice.zero_beta))
        keep = {"ids_in": np.ones(len(first), bool)}
        return rule.smaller(keep, call, masked=masked, zero_beta=zero)

    return rebuilt(flow.graph.model, replacement)


def smaller_copy(flow: ChannelFlow, choice: Choice) -> keras.Model:
    """A copy without the channels, and with what they added elsewhere."""
    removed = list(choice.removed)

    def kept(ids):
        return ~np.isin(flow.channels.firsts(ids), removed)

    shifts = shifts_of(flow, choice, kept)

    def replacement(layer):
        rule = flow.rules.get(id(layer))
        if rule is None:
            return None
        keep = {
            name: kept(ids)
            for name in ("ids_in", "ids_out")
            if (ids := getattr(rule, name, None)) is not None
        }
        if not keep:
            return None
        call = flow.graph.calls_of(layer)[0]
        return rule.smaller(keep, call, shifts.get(id(layer)))

    model = flow.graph.model
    return rebuilt(model, replacement, (), input_shapes(flow, kept))


def shifts_of(flow, choice, kept) -> dict[int, np.ndarray]:
    """What constants of removed channels add, by the layer that takes it.

    That is the bias of the kernel's layer; without one, the moving mean of a
    normalization behind it, if that is all that uses the outputs; else a new
    bias.
    """
    shifts: dict[int, np.ndarray] = {}
    for rule in flow.rules.values():
        constants = choice.constants.get(id(rule.layer))
        if constants is None or not isinstance(rule, Kernel):
            continue
        gone = ~kept(rule.ids_in)
        shift = rule.shift(constants, gone) if gone.any() else np.zeros(1)
        if not shift.any():
            continue
        taker = None
        if not rule.layer.use_bias:
            taker = normalization_behind(flow, rule)
        shifts[id(taker or rule.layer)] = shift
    return shifts


def normalization_behind(flow, rule):
    """A normalization that can take a shift of all outputs of a kernel."""
    calls = flow.graph.calls_of(rule.layer)
    linear = activation_name(getattr(rule.layer, "activation", None))
    if len(calls) > 1 or linear != "linear":
        return None
    after = flow.graph.only_consumer(calls[0].outputs[0])
    if after is None or len(flow.graph.calls_of(after.layer)) > 1:
        return None
    taker = flow.rule(after)
    takes = isinstance(taker, Affine) and taker.takes_shift()
    return after.layer if takes and not after.training else None


def input_shapes(flow, kept) -> dict:
    """{id of an input of a nested model: its shape in the copy}."""
    found = {}
    for model in flow.graph.model._flatten_layers(include_self=False):
        if not isinstance(model, keras.Model) or not opened(model):
            continue
        for t in function_of(model).inputs:
            places = flow.places(t)
            shape = list(t.shape)
            left = int(kept(places.ids).sum())
            if len(places) and left < len(places):
                shape[places.axis] = left
                found[id(t)] = tuple(shape)
    return found
