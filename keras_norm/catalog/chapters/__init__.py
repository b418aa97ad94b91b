"""The rows of the catalog, one module per chapter."""

from keras_norm.catalog.chapters import analysis
from keras_norm.catalog.chapters import area
from keras_norm.catalog.chapters import constraints
from keras_norm.catalog.chapters import domain
from keras_norm.catalog.chapters import generic
from keras_norm.catalog.chapters import mixture
from keras_norm.catalog.chapters import operation
from keras_norm.catalog.chapters import optimizers
from keras_norm.catalog.chapters import recovery
from keras_norm.catalog.chapters import recurrent
from keras_norm.catalog.chapters import statistics
from keras_norm.catalog.chapters import tools
from keras_norm.catalog.chapters import weights
from keras_norm.catalog.chapters import whitening

# In the order of the numbers; the imports above are sorted by name.
METHODS = (
    *area.METHODS,
    *operation.METHODS,
    *whitening.METHODS,
    *recovery.METHODS,
    *mixture.METHODS,
    *statistics.METHODS,
    *domain.METHODS,
    *weights.METHODS,
    *constraints.METHODS,
    *recurrent.METHODS,
    *optimizers.METHODS,
    *tools.METHODS,
    *analysis.METHODS,
    *generic.METHODS,
)
