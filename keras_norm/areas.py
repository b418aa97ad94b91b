"""Areas: which entries share statistics."""

from keras_norm.core.areas import Area
from keras_norm.core.positions import Position

__all__ = ["Area", "Position"]
