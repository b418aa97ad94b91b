"""How channels go through the layers of a model, from kernel to kernel."""

import keras
import numpy as np

from keras_norm.models.channel_kernels import Kernel
from keras_norm.models.channel_norms import Affine
from keras_norm.models.channel_rules import Rule
from keras_norm.models.channel_table import rule_of
from keras_norm.models.channels import Channels
from keras_norm.models.channels import Places
from keras_norm.models.layer_graph import LayerGraph


class ChannelFlow:
    """The channels of every tensor of a model.

    Args:
        model: a built Sequential or functional model.

    Attributes:
        graph: its calls.
        channels: which are tied, which must stay.
        rules: {id of a layer: what it does with channels}.
    """

    def __init__(self, model: keras.Model):
        self.graph = LayerGraph(model)
        self.channels = Channels()
        self.rules: dict[int, Rule] = {}
        self._places: dict[int, Places] = {}
        self._unknown: set[int] = set()
        for call in self.graph.calls:
            if id(call.layer) not in self.rules:
                self.rules[id(call.layer)] = rule_of(call.layer)
            inputs = [self.places(t) for t in call.inputs]
            made = self.rule(call).connect(self.channels, call, inputs)
            if made is None:
                self._connect_unknown(call, inputs)
            else:
                self._places[id(call.outputs[0])] = made
        for call in self.graph.calls:
            for t in call.outputs:
                if self.graph.is_output(t):
                    why = f"{call.name!r} makes an output of the model"
                    self.channels.pin(self.places(t).ids, why)

    def rule(self, call) -> Rule:
        """The rule of the layer of a call."""
        return self.rules[id(call.layer)]

    def known(self, call) -> bool:
        """Is it known what a call does with channels?"""
        return id(call) not in self._unknown

    def places(self, t) -> Places:
        """The channels of a tensor; those of inputs must stay."""
        t = self.graph.tensor(t)
        if id(t) not in self._places:
            self._places[id(t)] = self._of_unknown(t)
            why = f"{t.name!r} is an input of the model"
            self.channels.pin(self._places[id(t)].ids, why)
        return self._places[id(t)]

    def _of_unknown(self, t):
        """Channels along the last axis."""
        rank = len(t.shape)
        size = t.shape[-1] if rank > 1 else 0
        return Places(max(rank - 1, 0), self.channels.fresh(size or 0))

    def _connect_unknown(self, call, inputs):
        """All channels that meet the call must stay."""
        self._unknown.add(id(call))
        for t in call.outputs:
            self._places[id(t)] = self._of_unknown(t)
        made = [self._places[id(t)] for t in call.outputs]
        self.rule(call).refuse(self.channels, [*inputs, *made])

    def first(self, t) -> np.ndarray:
        """Channels of a tensor: the first of those that each is tied to."""
        return self.channels.firsts(self.places(t).ids)

    def constants(self, masks, zero_beta=()):
        """What is constant where gammas are masked, and what stands against.

        Args:
            masks: {id of a normalization layer: which of its gammas are 0}.
            zero_beta: channels (first of tied ones) whose betas are 0, too.

        Returns:
            {first of tied channels: why they cannot be removed}, and {id of a
            layer with a kernel: constants of its input}.
        """
        blocked: dict[int, str] = {}
        constants: dict[int, np.ndarray] = {}
        zero = np.zeros(len(self.channels), bool)
        zero[list(zero_beta)] = True
        values: dict[int, np.ndarray] = {}
        for call in self.graph.calls:
            rule = self.rule(call)
            places = [self.places(t) for t in call.inputs]
            given = [
                values.get(id(t), np.full(len(p), np.nan))
                for t, p in zip(call.inputs, places, strict=True)
            ]
            masked = masks.get(id(call.layer))
            if not self.known(call):
                continue
            if masked is not None and isinstance(rule, Affine):
                zeros = zero[self.first(call.inputs[0])]
                found = rule.masked(masked, zeros)
            else:
                made = self.places(call.outputs[0])
                found = rule.constants(call, given, made)
            values[id(call.outputs[0])] = found
            if isinstance(rule, Kernel) and rule.uses_channels:
                known = constants.setdefault(id(call.layer), given[0])
                for place, why in rule.obstacles(given[0], known):
                    channel = self.channels.first(int(places[0].ids[place]))
                    blocked.setdefault(channel, why)
        for channel in range(len(self.channels)):
            why = self.channels.pinned(channel)
            if why:
                blocked[self.channels.first(channel)] = why[0]
        return blocked, constants
