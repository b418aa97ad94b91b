"""Names of the four kinds of parts, as users write them."""

from keras_norm.core import areas
from keras_norm.core import coloring
from keras_norm.core import configuration
from keras_norm.core import deviations
from keras_norm.core import matrix_operations
from keras_norm.core import operations
from keras_norm.core import population
from keras_norm.core import positions
from keras_norm.core import recoveries
from keras_norm.core import renorm
from keras_norm.core import statistics as estimators
from keras_norm.core import style_recoveries
from keras_norm.core import windows

AREAS = {
    "batch": areas.Area,
    "layer": lambda: areas.Area("each", "all"),
    "instance": lambda: areas.Area("each", "each"),
    "group": lambda: areas.Area("each", 32),
    "position": positions.Position,
}

OPERATIONS = {
    "standardize": operations.Standardize,
    "center": operations.Center,
    "scale": operations.Scale,
    "scale_by_deviation": operations.ScaleByDeviation,
    "newton": matrix_operations.Newton,
    "zca": matrix_operations.ZCA,
    "pca": matrix_operations.PCA,
    "cholesky": matrix_operations.Cholesky,
    "decorrelate": matrix_operations.Decorrelate,
    "lp": deviations.LpDeviation,
    "range": deviations.RangeDeviation,
    "deviation": deviations.Deviation,
}


STATISTICS = {
    "batch": estimators.Batch,
    "moving": estimators.MovingAverage,
    "renorm": renorm.Renorm,
    "population": population.Population,
    "lagging": population.Lagging,
}

RECOVERIES = {
    "affine": recoveries.Affine,
    "none": recoveries.Nothing,
    "conditional": recoveries.Conditional,
    "style": style_recoveries.Style,
    "generated": recoveries.Generated,
    "dense": style_recoveries.DenseStyle,
    "coloring": coloring.Coloring,
}


def area(identifier):
    """An area from a name, an object or a config."""
    kinds = (areas.Area, positions.Position, windows.Window)
    return configuration.get(identifier, kinds, "area", AREAS)


def operation(identifier):
    """An operation from a name, an object or a config."""
    kind = operations.Operation
    return configuration.get(identifier, kind, "operation", OPERATIONS)


def statistics(identifier):
    """Statistics from a name, an object or a config."""
    kind = estimators.Batch
    return configuration.get(identifier, kind, "statistics", STATISTICS)


def recovery(identifier):
    """A recovery from a name, an object, a config, or None."""
    kind = recoveries.Nothing
    named = "none" if identifier is None else identifier
    return configuration.get(named, kind, "recovery", RECOVERIES)
