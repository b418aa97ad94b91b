"""A row for a layer outside of the contract's table of normalizations."""

import dataclasses

import numpy as np

from contract.method import SHAPES
from contract.method import scramble
from keras_norm import layers


@dataclasses.dataclass(frozen=True)
class Alone:
    """A layer outside of the contract's table.

    The fields are those of `contract.method.Method` that tests of single
    layers and of the model of all layers ask for.
    """

    layer: str
    label: str = ""
    options: dict = dataclasses.field(default_factory=dict)
    rank: int = 4
    conditions: tuple = ()
    decomposes: bool = False
    whole: bool = False

    def __str__(self):
        return f"{self.layer} {self.label}".strip().replace(" ", "-")

    @property
    def cls(self):
        return getattr(layers, self.layer)

    def make(self, **options):
        """The layer, not built."""
        return self.cls(**{**self.options, **options})

    def built(self, seed=0, **options):
        """The layer, built, weights scrambled."""
        layer = self.make(**options)
        layer.build(SHAPES[self.rank])
        scramble(layer, seed)
        return layer

    def inputs(self, seed=1):
        """A float32 input."""
        rng = np.random.default_rng(seed)
        return [rng.normal(size=SHAPES[self.rank]).astype("float32")]

    def given(self, inputs):
        """What the layer is called with."""
        return inputs[0]
