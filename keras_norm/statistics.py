"""Statistics: where the numbers come from."""

from keras_norm.core.composition import Composition
from keras_norm.core.ghosts import GhostAverage
from keras_norm.core.memory import Memory
from keras_norm.core.momentum import MomentumAverage
from keras_norm.core.population import Lagging
from keras_norm.core.population import Population
from keras_norm.core.renorm import BatchRenorm
from keras_norm.core.renorm import Renorm
from keras_norm.core.statistics import Batch
from keras_norm.core.statistics import MovingAverage

__all__ = [
    "Batch",
    "BatchRenorm",
    "Composition",
    "GhostAverage",
    "Lagging",
    "Memory",
    "MomentumAverage",
    "MovingAverage",
    "Population",
    "Renorm",
]
