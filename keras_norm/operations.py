"""Operations: what is measured and how it normalizes."""

from keras_norm.core.deviations import Deviation
from keras_norm.core.deviations import LpDeviation
from keras_norm.core.deviations import RangeDeviation
from keras_norm.core.operations import Center
from keras_norm.core.operations import Operation
from keras_norm.core.operations import Scale
from keras_norm.core.operations import ScaleByDeviation
from keras_norm.core.operations import Standardize
from keras_norm.core.whitening import Newton

__all__ = [
    "Center",
    "Deviation",
    "LpDeviation",
    "Newton",
    "Operation",
    "RangeDeviation",
    "Scale",
    "ScaleByDeviation",
    "Standardize",
]
