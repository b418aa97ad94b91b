"""What became of the normalization layers of a model."""

from dataclasses import dataclass
from dataclasses import field


@dataclass(frozen=True)
class Change:
    """What became of one normalization layer.

    Attributes:
        path: the layer's path in the model.
        before: its class, as in "keras.BatchNormalization".
        after: what stands for it; None: it was kept.
        notes: what was lost or left alone, and why.
    """

    path: str
    before: str
    after: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        became = f" -> {self.after}" if self.after else " kept"
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return f"{self.path}: {self.before}{became}{notes}"


@dataclass(frozen=True)
class ConversionReport:
    """What `convert` has done with each normalization layer of a model."""

    changes: list[Change] = field(default_factory=list)

    @property
    def converted(self) -> list[Change]:
        """Layers that another one stands for."""
        return [c for c in self.changes if c.after]

    @property
    def kept(self) -> list[Change]:
        """Normalization layers that are as they were."""
        return [c for c in self.changes if not c.after]

    @property
    def losses(self) -> list[Change]:
        """Converted layers that had something which their target has not."""
        return [c for c in self.converted if c.notes]

    def __str__(self) -> str:
        """A line for each layer, after the counts."""
        counts = f"{len(self.converted)} converted, {len(self.kept)} kept"
        return "\n".join([counts, *(f"  {c}" for c in self.changes)])


class Kept(Exception):
    """A rule's reason to leave a layer as it is."""
