"""What became of the channels of a model."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LayerPruning:
    """What became of the channels of one normalization layer.

    Attributes:
        path: the layer's path in the model.
        layer: name of its class.
        channels: how many it had.
        removed: which of them are gone, or masked.
        absorbed: which of these had a constant that went on into biases.
        notes: why others cannot be removed.
    """

    path: str
    layer: str
    channels: int
    removed: tuple[int, ...] = ()
    absorbed: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> int:
        """How many are left."""
        return self.channels - len(self.removed)

    @property
    def mask(self) -> np.ndarray:
        """True for channels that are kept: what `masks` takes."""
        found = np.ones(self.channels, bool)
        found[list(self.removed)] = False
        return found

    def __str__(self) -> str:
        """One line."""
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return (
            f"{self.path}: {self.layer}, {self.kept} of {self.channels} "
            f"channels kept{notes}"
        )


@dataclass(frozen=True)
class PruningReport:
    """What `prune` and `mask_channels` have done.

    Attributes:
        changes: of each normalization layer that was asked for.
        parameters_before: of the model.
        parameters_after: of what was returned.
    """

    changes: list[LayerPruning]
    parameters_before: int
    parameters_after: int

    @property
    def removed(self) -> int:
        """How many gammas are gone, or masked."""
        return sum(len(c.removed) for c in self.changes)

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """{path of a layer: True for channels that are kept}."""
        return {c.path: c.mask for c in self.changes}

    def __str__(self) -> str:
        """A line for each layer, after the counts."""
        total = sum(c.channels for c in self.changes)
        counts = (
            f"{self.removed} of {total} channels removed, "
            f"{self.parameters_before} -> {self.parameters_after} parameters"
        )
        return "\n".join([counts, *(f"  {c}" for c in self.changes)])


def pruning_report(model, made, chooser, choice) -> PruningReport:
    """The report of a choice and of the model that it made."""
    changes = []
    for rule in chooser.rules:
        first = chooser.firsts(rule)
        gone = np.isin(first, list(choice.removed))
        absorbed = gone & ~np.isin(first, list(choice.zero_beta))
        stuck = [c for c in first if c in choice.blocked]
        notes = {chooser.reason(c, choice.blocked): None for c in stuck}
        changes.append(
            LayerPruning(
                rule.layer.path,
                type(rule.layer).__name__,
                len(first),
                tuple(np.flatnonzero(gone).tolist()),
                tuple(np.flatnonzero(absorbed).tolist()),
                tuple(notes),
            )
        )
    return PruningReport(changes, model.count_params(), made.count_params())
