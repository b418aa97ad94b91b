"""Which channels of a model are to be removed, and which can be."""

import types
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from keras_norm import errors
from keras_norm.models.channel_flow import ChannelFlow
from keras_norm.models.channel_norms import Affine
from keras_norm.models.statistics_pass import chosen

BETAS = ("absorb", "zero")


@dataclass(frozen=True)
class Choice:
    """Channels that are removed.

    Attributes:
        masks: {id of a normalization layer: which of its gammas are 0}.
        removed: the channels (first of tied ones) that are removed.
        zero_beta: those of them whose betas are 0, too.
        constants: {id of a layer with a kernel: constants of its input}.
        blocked: {channel: why it can not be removed}.
    """

    masks: dict[int, np.ndarray]
    removed: set[int]
    zero_beta: set[int]
    constants: dict[int, np.ndarray] = field(default_factory=dict)
    blocked: dict[int, str] = field(default_factory=dict)


class Chooser:
    """Chooses channels of a model by their gammas.

    Args:
        flow: of the model.
        layers: whose gammas count: see `statistics_pass.chosen`.
        beta: "absorb" or "zero".
    """

    def __init__(self, flow: ChannelFlow, layers=None, beta: str = "absorb"):
        if beta not in BETAS:
            raise errors.unknown_name("beta", beta, list(BETAS))
        self.flow, self.beta = flow, beta
        self.rules = prunable(flow, layers)

    def by_score(self, fraction=None, threshold=None) -> Choice:
        """Those of the least |gamma|: a fraction, or up to a threshold."""
        scores = self.scores()
        whole = {id(r.layer): np.ones(r.size, bool) for r in self.rules}
        keeping, zeroing = self.blocked(whole, set(scores))
        able = [c for c in scores if c not in keeping or c not in zeroing]
        if not able:
            raise errors.received(
                "At least one channel must be such that it can be removed.",
                layers=[r.layer.name for r in self.rules],
                reasons=sorted({zeroing[c] for c in scores}),
            )
        if fraction is not None:
            able.sort(key=lambda c: scores[c])
            # 0.29 * 100 is less than 29.
            number = int(fraction * len(able) + 1e-9)
            removed = set(able[:number])
        else:
            removed = {c for c in able if scores[c] <= threshold}
        # The strongest stay where none would.
        for channels in self.tensors():
            if removed.issuperset(channels):
                removed.remove(max(channels, key=lambda c: scores[c]))
        zero = {c for c in removed if c in keeping}
        return self.choice(removed, zero, zeroing)

    def by_masks(self, masks) -> Choice:
        """Those that masks name: {name or path of a layer: True to keep}."""
        masked = self.checked(masks)
        removed = {
            int(c)
            for rule in self.rules
            if id(rule.layer) in masked
            for c in self.firsts(rule)[masked[id(rule.layer)]]
        }
        keeping, zeroing = self.blocked(masked, removed)
        stuck = sorted(removed & set(keeping) & set(zeroing))
        if stuck:
            raise errors.received(
                "`masks` must leave out only channels that can be removed: "
                f"{self.reason(stuck[0], zeroing)}.",
                **self.of_channels(stuck),
            )
        for channels in self.tensors():
            if removed.issuperset(channels):
                raise errors.received(
                    "`masks` must leave a channel of every tensor.",
                    **self.of_channels(channels),
                )
        zero = {c for c in removed if c in keeping}
        return self.choice(removed, zero, zeroing, masked)

    # Parts --------------------------------------------------------------------

    def blocked(self, masks, channels):
        """Why channels cannot be removed: with beta kept, and with a beta of 0.

        Channels do not depend on others: what is found with all masked holds
        for some.
        """
        zeroing = self.flow.constants(masks, channels)[0]
        if self.beta == "zero":
            return dict.fromkeys(channels, "") | zeroing, zeroing
        return self.flow.constants(masks)[0], zeroing

    def choice(self, removed, zero, blocked, masks=None) -> Choice:
        """The choice, with the constants that come of it."""
        if masks is None:
            masks = {
                id(r.layer): np.isin(self.firsts(r), list(removed))
                for r in self.rules
            }
        _, constants = self.flow.constants(masks, zero)
        return Choice(masks, removed, zero, constants, blocked)

    def firsts(self, rule) -> np.ndarray:
        """The channels of a normalization layer."""
        return self.flow.channels.firsts(rule.ids_in)

    def scores(self) -> dict[int, float]:
        """{channel: the greatest of its |gamma|}, in the order of layers."""
        found: dict[int, float] = {}
        for rule in self.rules:
            sizes = np.abs(rule.gammas())
            for channel, size in zip(self.firsts(rule), sizes, strict=True):
                known = found.get(int(channel), 0.0)
                found[int(channel)] = max(known, float(size))
        return found

    def tensors(self):
        """The channels of each tensor that has some."""
        found: dict[frozenset, None] = {}
        for call in self.flow.graph.calls:
            for t in call.outputs:
                channels = frozenset(self.flow.first(t).tolist())
                if channels:
                    found[channels] = None
        return list(found)

    def reason(self, channel, blocked) -> str:
        """Why a channel cannot be removed, and what ties it to others."""
        ties = self.flow.channels.ties(channel)
        others = [r.layer.name for r in self.rules if channel in self.firsts(r)]
        text = blocked[channel]
        if ties:
            text += f" ({', '.join(ties)} ties channels of {others})"
        return text

    def of_channels(self, channels) -> dict:
        """{name of a layer: the places of channels in it}."""
        listed = list(channels)
        found: dict[str, list] = {}
        for rule in self.rules:
            places = np.flatnonzero(np.isin(self.firsts(rule), listed))
            if len(places):
                found[rule.layer.name] = places.tolist()
        return found

    def checked(self, masks) -> dict[int, np.ndarray]:
        """{id of a layer: which gammas become 0}."""
        known = [r.layer for r in self.rules]
        found: dict[int, np.ndarray] = {}
        for name, mask in dict(masks).items():
            meant = [x for x in known if name in (x.name, x.path)]
            if not meant:
                raise errors.unknown_name(
                    "masks", name, [x.name for x in known]
                )
            if len(meant) > 1:
                raise errors.received(
                    "`masks` must name each layer by its path where several "
                    "have its name.",
                    name=name,
                    paths=[x.path for x in meant],
                )
            size = meant[0].gamma.shape[0]
            kept = np.asarray(mask)
            if kept.dtype != bool or kept.shape != (size,):
                raise errors.received(
                    "`masks` must have a boolean for every channel of a "
                    "layer: True to keep it.",
                    layer=name,
                    channels=size,
                    dtype=str(kept.dtype),
                    shape=kept.shape,
                )
            found[id(meant[0])] = ~kept
        return found


def prunable(flow, layers=None) -> list[Affine]:
    """The rules of the normalization layers whose gammas count."""
    known = [r for r in flow.rules.values() if isinstance(r, Affine)]
    known = [r for r in known if r.prunes]
    found = types.SimpleNamespace(readings=known, unknown=[])
    wanted = chosen(layers, found)
    rules = [r for r in known if wanted(r.layer)]
    if not rules:
        raise errors.received(
            "`model` must have normalization of single channels with gamma"
            + ("." if layers is None else " that `layers` selects."),
            "Batch normalization with `scale=True`, for example.",
            model=flow.graph.model.name,
            layers=layers,
        )
    return rules
