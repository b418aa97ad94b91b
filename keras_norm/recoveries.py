"""Recoveries: what is put back after normalizing."""

from keras_norm.core.attentive_recovery import AffineMixture
from keras_norm.core.class_tables import ClassTables
from keras_norm.core.coloring import Coloring
from keras_norm.core.feature_maps import FromLatent
from keras_norm.core.generated_recoveries import EnhancedByMean
from keras_norm.core.generated_recoveries import FromKeyGroups
from keras_norm.core.recoveries import Affine
from keras_norm.core.recoveries import Conditional
from keras_norm.core.recoveries import Generated
from keras_norm.core.recoveries import Nothing
from keras_norm.core.self_scaled import SelfScaled
from keras_norm.core.spatial_recoveries import GeneratedMaps
from keras_norm.core.style_recoveries import DenseStyle
from keras_norm.core.style_recoveries import Style
from keras_norm.core.style_whitening import ColorByStyle

__all__ = [
    "Affine",
    "AffineMixture",
    "ClassTables",
    "ColorByStyle",
    "Coloring",
    "Conditional",
    "DenseStyle",
    "EnhancedByMean",
    "FromKeyGroups",
    "FromLatent",
    "Generated",
    "GeneratedMaps",
    "Nothing",
    "SelfScaled",
    "Style",
]
