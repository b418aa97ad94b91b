"""Recoveries: what is put back after normalizing."""

from keras_norm.core.coloring import Coloring
from keras_norm.core.recoveries import Affine
from keras_norm.core.recoveries import Conditional
from keras_norm.core.recoveries import Generated
from keras_norm.core.recoveries import Nothing
from keras_norm.core.style_recoveries import DenseStyle
from keras_norm.core.style_recoveries import Style
from keras_norm.core.style_whitening import ColorByStyle

__all__ = [
    "Affine",
    "ColorByStyle",
    "Coloring",
    "Conditional",
    "DenseStyle",
    "Generated",
    "Nothing",
    "Style",
]
