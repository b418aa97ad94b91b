"""Reference implementations of the layers: NumPy, float64, no engine.

`ORACLES[name](inputs, config, weights, state, training, mask=None)` returns
`(y, new_state)`. They are written from the formulas alone, by explicit means
over explicit sets of entries; clarity before speed. Missing entries of
`config`, `weights` and `state` take the layer's defaults.
"""

from . import area
from . import linear
from . import mixture
from . import operation
from . import recovery
from . import statistics
from . import style
from . import whitening
from . import whitening_areas
from . import window
from .shapes import initial_state
from .shapes import weight_shapes

__all__ = ["ORACLES", "initial_state", "weight_shapes"]

ORACLES = {
    "BatchNormalization": area.batch_normalization,
    "LayerNormalization": area.layer_normalization,
    "InstanceNormalization": area.instance_normalization,
    "GroupNormalization": area.group_normalization,
    "PositionalNormalization": area.positional_normalization,
    "MomentShortcut": area.moment_shortcut,
    "BatchGroupNormalization": area.batch_group_normalization,
    "LocalContrastNormalization": window.local_contrast_normalization,
    "LocalResponseNormalization": window.local_response_normalization,
    "DivisiveNormalization": window.divisive_normalization,
    "GeneralizedDivisiveNormalization": (
        window.generalized_divisive_normalization
    ),
    "LocalContextNormalization": window.local_context_normalization,
    "RMSNormalization": operation.rms_normalization,
    "PixelNormalization": operation.pixel_normalization,
    "VarianceOnlyLayerNormalization": (
        operation.variance_only_layer_normalization
    ),
    "FilterResponseNormalization": operation.filter_response_normalization,
    "TLU": operation.tlu,
    "MeanOnlyBatchNormalization": operation.mean_only_batch_normalization,
    "ScaleOnlyBatchNormalization": operation.scale_only_batch_normalization,
    "LpBatchNormalization": operation.lp_batch_normalization,
    "RangeBatchNormalization": operation.range_batch_normalization,
    "GeneralizedBatchNormalization": (
        operation.generalized_batch_normalization
    ),
    "UnitNormalization": operation.unit_normalization,
    "EvoNorm": operation.evonorm,
    "DecorrelatedBatchNormalization": (
        whitening.decorrelated_batch_normalization
    ),
    "WhiteningColoringBatchNormalization": (
        whitening.whitening_coloring_batch_normalization
    ),
    "IterativeNormalization": whitening.iterative_normalization,
    "GroupWhitening": whitening_areas.group_whitening,
    "SwitchableWhitening": whitening_areas.switchable_whitening,
    "DomainWhitening": whitening_areas.domain_whitening,
    "WhiteningColoringTransform": style.whitening_coloring_transform,
    "GroupwiseWhiteningColoring": style.groupwise_whitening_coloring,
    "DeconvolutionConv2D": linear.deconvolution_conv2d,
    "DeconvolutionDense": linear.deconvolution_dense,
    "ChannelDeconvolution": linear.channel_deconvolution,
    "RunningMeanCentering": linear.running_mean_centering,
    "MeanNormalizedDense": linear.mean_normalized_dense,
    "WhitenedDense": linear.whitened_dense,
    "ConditionalBatchNormalization": (recovery.conditional_batch_normalization),
    "AdaptiveInstanceNormalization": (recovery.adaptive_instance_normalization),
    "SwitchableNormalization": mixture.switchable_normalization,
    "PopulationBatchNormalization": (statistics.population_batch_normalization),
    "ComposedNormalization": area.composed_normalization,
}
