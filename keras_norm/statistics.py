"""Statistics: where the numbers come from."""

from keras_norm.core.statistics import Batch
from keras_norm.core.statistics import MovingAverage
from keras_norm.core.statistics import Population
from keras_norm.core.statistics import Renorm

__all__ = ["Batch", "MovingAverage", "Population", "Renorm"]
