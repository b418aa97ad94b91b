"""Statistics: where the numbers come from."""

from keras_norm.core.population import Lagging
from keras_norm.core.population import Population
from keras_norm.core.renorm import Renorm
from keras_norm.core.statistics import Batch
from keras_norm.core.statistics import MovingAverage

__all__ = ["Batch", "Lagging", "MovingAverage", "Population", "Renorm"]
