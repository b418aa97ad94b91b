"""Operations: what is measured and how it normalizes."""

from keras_norm.core.deviations import Deviation
from keras_norm.core.deviations import LpDeviation
from keras_norm.core.deviations import RangeDeviation
from keras_norm.core.matrix_operations import PCA
from keras_norm.core.matrix_operations import ZCA
from keras_norm.core.matrix_operations import Cholesky
from keras_norm.core.matrix_operations import Decorrelate
from keras_norm.core.matrix_operations import Newton
from keras_norm.core.operations import Center
from keras_norm.core.operations import Operation
from keras_norm.core.operations import Scale
from keras_norm.core.operations import ScaleByDeviation
from keras_norm.core.operations import Standardize
from keras_norm.core.style_whitening import WhitenContent
from keras_norm.core.whitening import Whiten

__all__ = [
    "PCA",
    "ZCA",
    "Center",
    "Cholesky",
    "Decorrelate",
    "Deviation",
    "LpDeviation",
    "Newton",
    "Operation",
    "RangeDeviation",
    "Scale",
    "ScaleByDeviation",
    "Standardize",
    "Whiten",
    "WhitenContent",
]
