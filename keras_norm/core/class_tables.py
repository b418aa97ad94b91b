"""gamma and beta of each class, in tables.

Dumoulin, Shlens & Kudlur, 2017, https://arxiv.org/abs/1610.07629
"""

import keras

from keras_norm.core.classes import check_classes
from keras_norm.core.coloring import of_classes
from keras_norm.core.layer import positive
from keras_norm.core.recoveries import Affine


@keras.saving.register_keras_serializable("keras_norm")
class ClassTables(Affine):
    """y = gamma[k] * x + beta[k] for a class k; of weights w: w gamma, w beta.

    Args:
        num_classes: rows of the tables.
    """

    condition = "labels (N,) or (N, 1), or weights (N, num_classes)"

    def __init__(self, num_classes=1):
        positive("num_classes", num_classes)
        self.num_classes = num_classes

    def build(self, layer, channels, condition_shape=None) -> None:
        """Gamma and beta of shape (num_classes, channels)."""
        check_classes(condition_shape, self.num_classes)
        layer.add_affine((self.num_classes, channels))

    def fold(self, layer, scale, offset, condition=None):
        """Gamma and beta of each sample's class."""
        if layer.gamma is not None:
            gamma = of_classes(layer.gamma, condition, scale.dtype)
            scale, offset = scale * gamma, offset * gamma
        if layer.beta is not None:
            offset = offset + of_classes(layer.beta, condition, scale.dtype)
        return scale, offset
