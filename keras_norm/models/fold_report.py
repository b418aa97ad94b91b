"""What became of the normalization layers of a model that was folded."""

from dataclasses import dataclass
from dataclasses import field


@dataclass(frozen=True)
class FoldChange:
    """What became of one normalization layer.

    Attributes:
        path: the layer's path in the model.
        layer: its class, as in "keras.BatchNormalization".
        into: the path of the layer that computes it too; None: it was kept.
        notes: what was lost, or why it was kept.
    """

    path: str
    layer: str
    into: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        became = f" folded into {self.into}" if self.into else " kept"
        notes = f" ({'; '.join(self.notes)})" if self.notes else ""
        return f"{self.path}: {self.layer}{became}{notes}"


@dataclass(frozen=True)
class FoldReport:
    """What `fold` has done with each normalization layer of a model."""

    changes: list[FoldChange] = field(default_factory=list)

    @property
    def folded(self) -> list[FoldChange]:
        """Layers that another one computes."""
        return [c for c in self.changes if c.into]

    @property
    def kept(self) -> list[FoldChange]:
        """Normalization layers that are as they were."""
        return [c for c in self.changes if not c.into]

    def __str__(self) -> str:
        """A line for each layer, after the counts."""
        counts = f"{len(self.folded)} folded, {len(self.kept)} kept"
        return "\n".join([counts, *(f"  {c}" for c in self.changes)])
