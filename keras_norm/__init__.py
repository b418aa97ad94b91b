"""keras_norm: every normalization technique of the literature for Keras 3.

>>> import keras_norm as kn
>>> layer = kn.layers.InstanceNormalization()
"""

from keras_norm import analysis
from keras_norm import areas
from keras_norm import callbacks
from keras_norm import catalog
from keras_norm import constraints
from keras_norm import layers
from keras_norm import operations
from keras_norm import ops
from keras_norm import optimizers
from keras_norm import recoveries
from keras_norm import regularizers
from keras_norm import statistics
from keras_norm import tools

__version__ = "0.1.0"

__all__ = [
    "analysis",
    "areas",
    "callbacks",
    "catalog",
    "constraints",
    "layers",
    "operations",
    "ops",
    "optimizers",
    "recoveries",
    "regularizers",
    "statistics",
    "tools",
]
