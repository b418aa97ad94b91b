"""Factors of channels between a normalization and the kernels behind it."""

import numpy as np

from keras_norm.models.channel_flow import ChannelFlow
from keras_norm.models.channel_kernels import Kernel
from keras_norm.models.channel_norms import Affine


class Stuck(Exception):
    """A factor that cannot pass.

    Args:
        owners: ids of the normalization layers that it comes from.
        why: what is in its way.
    """

    def __init__(self, owners, why):
        super().__init__(why)
        self.owners = owners


class Scales:
    """Where gamma and beta can be multiplied, and kernels divided, by a factor.

    Args:
        flow: of the model.
        rules: the normalization layers that are to be multiplied.
        factor: above 0.

    Attributes:
        rules: those that can be.
        refused: {id of a layer: why it cannot be}.
        divisors: {id of a layer with a kernel: factors of its inputs}.
    """

    def __init__(self, flow: ChannelFlow, rules: list[Affine], factor: float):
        self.flow, self.factor = flow, factor
        self.rules = list(rules)
        self.refused: dict[int, str] = {}
        self.divisors: dict[int, np.ndarray] = {}
        while self.rules:
            try:
                self.follow()
                return
            except Stuck as stuck:
                # Without these, others may pass.
                self.refused |= dict.fromkeys(stuck.owners, str(stuck))
                self.rules = [
                    r for r in self.rules if id(r.layer) not in self.refused
                ]

    def follow(self) -> None:
        """Follow the factors to the kernels that take them back."""
        graph = self.flow.graph
        scaled = {id(r.layer) for r in self.rules}
        self.divisors = {}
        # {id of a tensor: (factors, owners)}, {id of a layer: owners}.
        known: dict[int, tuple] = {}
        users: dict[int, set] = {}
        for call in graph.calls:
            given = [known.get(id(t), self.ones(t)) for t in call.inputs]
            owners = set().union(*(whose for _, whose in given))
            rule = self.flow.rule(call)
            values = [factors for factors, _ in given]
            if isinstance(rule, Kernel):
                users.setdefault(id(call.layer), set()).update(owners)
                first = self.divisors.setdefault(id(call.layer), values[0])
                if not np.array_equal(first, values[0]):
                    why = f"{rule.label} has calls with other factors"
                    raise Stuck(users[id(call.layer)], why)
                continue
            if id(call.layer) in scaled:
                if owners:
                    # Tied by epsilon: nearly the same is not the same.
                    raise Stuck(owners, f"{rule.label} normalizes it again")
                made = np.full(len(values[0]), self.factor)
                known[id(call.outputs[0])] = (made, {id(call.layer)})
            elif owners:
                made = self.passed(call, rule, values, owners)
                known[id(call.outputs[0])] = (made, owners)
        for call in graph.calls:
            for t in call.outputs:
                owners = known.get(id(t), (None, set()))[1]
                if owners and graph.is_output(t):
                    raise Stuck(owners, f"{call.name!r} makes an output")

    def ones(self, t):
        """Factors of a tensor that is not multiplied."""
        return np.ones(len(self.flow.places(t))), set()

    def passed(self, call, rule, values, owners) -> np.ndarray:
        """Factors of what a call makes."""
        if not self.flow.known(call) or not rule.homogeneous:
            raise Stuck(owners, f"{rule.label} is in its way")
        made = self.flow.places(call.outputs[0])
        carried = rule.carried(values, made)
        if rule.ties(values, made):
            for value in values:
                if np.any(value != carried):
                    why = f"{rule.label} adds what is not multiplied"
                    raise Stuck(owners, why)
        return carried
