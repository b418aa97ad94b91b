"""keras_norm: every normalization technique of the literature for Keras 3.

>>> import keras_norm as kn
>>> layer = kn.layers.InstanceNormalization()
"""

from keras_norm import layers
from keras_norm.core import areas
from keras_norm.core import operations
from keras_norm.core import recoveries
from keras_norm.core import statistics

__version__ = "0.1.0"

__all__ = ["areas", "layers", "operations", "recoveries", "statistics"]
