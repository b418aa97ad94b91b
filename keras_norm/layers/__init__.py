"""All layers, flat; the folders are the survey's chapters."""

from keras_norm.core.normalization import ComposedNormalization
from keras_norm.layers.area.batch_group_normalization import (
    BatchGroupNormalization,
)
from keras_norm.layers.area.batch_normalization import BatchNormalization
from keras_norm.layers.area.divisive_normalization import DivisiveNormalization
from keras_norm.layers.area.generalized_divisive_normalization import (
    GeneralizedDivisiveNormalization,
)
from keras_norm.layers.area.group_normalization import GroupNormalization
from keras_norm.layers.area.instance_normalization import InstanceNormalization
from keras_norm.layers.area.layer_normalization import LayerNormalization
from keras_norm.layers.area.local_context_normalization import (
    LocalContextNormalization,
)
from keras_norm.layers.area.local_contrast_normalization import (
    LocalContrastNormalization,
)
from keras_norm.layers.area.local_response_normalization import (
    LocalResponseNormalization,
)
from keras_norm.layers.area.positional_normalization import MomentShortcut
from keras_norm.layers.area.positional_normalization import (
    PositionalNormalization,
)
from keras_norm.layers.mixture.switchable_normalization import (
    SwitchableNormalization,
)
from keras_norm.layers.operation.evonorm import EvoNorm
from keras_norm.layers.operation.filter_response_normalization import TLU
from keras_norm.layers.operation.filter_response_normalization import (
    FilterResponseNormalization,
)
from keras_norm.layers.operation.generalized_batch_normalization import (
    GeneralizedBatchNormalization,
)
from keras_norm.layers.operation.lp_batch_normalization import (
    LpBatchNormalization,
)
from keras_norm.layers.operation.mean_only_batch_normalization import (
    MeanOnlyBatchNormalization,
)
from keras_norm.layers.operation.pixel_normalization import PixelNormalization
from keras_norm.layers.operation.range_batch_normalization import (
    RangeBatchNormalization,
)
from keras_norm.layers.operation.rms_normalization import RMSNormalization
from keras_norm.layers.operation.scale_only_batch_normalization import (
    ScaleOnlyBatchNormalization,
)
from keras_norm.layers.operation.unit_normalization import UnitNormalization
from keras_norm.layers.operation.variance_only_layer_normalization import (
    VarianceOnlyLayerNormalization,
)
from keras_norm.layers.recovery.adaptive_instance_normalization import (
    AdaptiveInstanceNormalization,
)
from keras_norm.layers.recovery.conditional_batch_normalization import (
    ConditionalBatchNormalization,
)
from keras_norm.layers.statistics.population_batch_normalization import (
    PopulationBatchNormalization,
)
from keras_norm.layers.whitening.iterative_normalization import (
    IterativeNormalization,
)

__all__ = [
    "AdaptiveInstanceNormalization",
    "BatchGroupNormalization",
    "BatchNormalization",
    "ComposedNormalization",
    "ConditionalBatchNormalization",
    "DivisiveNormalization",
    "EvoNorm",
    "FilterResponseNormalization",
    "GeneralizedBatchNormalization",
    "GeneralizedDivisiveNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "IterativeNormalization",
    "LayerNormalization",
    "LocalContextNormalization",
    "LocalContrastNormalization",
    "LocalResponseNormalization",
    "LpBatchNormalization",
    "MeanOnlyBatchNormalization",
    "MomentShortcut",
    "PixelNormalization",
    "PopulationBatchNormalization",
    "PositionalNormalization",
    "RMSNormalization",
    "RangeBatchNormalization",
    "ScaleOnlyBatchNormalization",
    "SwitchableNormalization",
    "TLU",
    "UnitNormalization",
    "VarianceOnlyLayerNormalization",
]
