"""Reference implementations of the layers: NumPy, float64, no engine.

`ORACLES[name](inputs, config, weights, state, training, mask=None)` returns
`(y, new_state)`. They are written from the formulas alone, by explicit means
over explicit sets of entries; clarity before speed. Missing entries of
`config`, `weights` and `state` take the layer's defaults.

`GRADIENTS[name](inputs, config, weights, state, upstream, mask=None)` returns
([gradient of each input], {weight: gradient}) of a training step, where it is
not the derivative of the output: part of it is held constant, or the method
has a backward pass of its own. The "gradient" of what that pass carries from
step to step is its next value. `INFERENCE_GRADIENTS[name]`: of inference,
where that is not the derivative of the output either.
"""

import functools

from . import adaptive
from . import area
from . import backward_statistics
from . import batch_channel
from . import batch_parts
from . import cross_iteration_layers
from . import domain
from . import dynamic
from . import kalman
from . import linear
from . import mixture
from . import mixtures
from . import modes
from . import modulation
from . import online
from . import operation
from . import recovery
from . import robust_statistics
from . import spatial
from . import statistics
from . import style
from . import whitening
from . import whitening_areas
from . import window
from .shapes import initial_state
from .shapes import weight_shapes

__all__ = [
    "GRADIENTS",
    "INFERENCE_GRADIENTS",
    "ORACLES",
    "initial_state",
    "weight_shapes",
]

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
    "AdaNormalization": adaptive.ada_normalization,
    "ConditionalInstanceNormalization": (
        modulation.conditional_instance_normalization
    ),
    "DynamicLayerNormalization": modulation.dynamic_layer_normalization,
    "SelfModulatedBatchNormalization": (
        modulation.self_modulated_batch_normalization
    ),
    "InstanceLevelMetaNormalization": (
        modulation.instance_level_meta_normalization
    ),
    "SpatiallyAdaptiveNormalization": spatial.spatially_adaptive_normalization,
    "InstanceEnhancementBatchNormalization": (
        modulation.instance_enhancement_batch_normalization
    ),
    "AttentiveNormalization": modulation.attentive_normalization,
    "DynamicInstanceNormalization": adaptive.dynamic_instance_normalization,
    "AdaptiveConvolutionNormalization": (
        adaptive.adaptive_convolution_normalization
    ),
    "SemanticAttentiveNormalization": spatial.semantic_attentive_normalization,
    "RegionNormalization": spatial.region_normalization,
    "LearnableRegionNormalization": spatial.learnable_region_normalization,
    "SwitchableNormalization": mixture.switchable_normalization,
    "SparseSwitchableNormalization": mixtures.sparse_switchable_normalization,
    "ExemplarNormalization": mixtures.exemplar_normalization,
    "DynamicNormalization": dynamic.dynamic_normalization,
    "BatchInstanceNormalization": mixtures.batch_instance_normalization,
    "AdaptiveLayerInstanceNormalization": (
        mixtures.adaptive_layer_instance_normalization
    ),
    "LayerInstanceNormalization": mixtures.layer_instance_normalization,
    "TaskNormalization": mixtures.task_normalization,
    "InstanceBatchNormalization": mixtures.instance_batch_normalization,
    "BatchChannelNormalization": batch_channel.batch_channel_normalization,
    "ModeNormalization": modes.mode_normalization,
    "MixtureNormalization": modes.mixture_normalization,
    "DomainSpecificBatchNormalization": (
        domain.domain_specific_batch_normalization
    ),
    "DomainAlignmentNormalization": domain.domain_alignment_normalization,
    "TransferableNormalization": domain.transferable_normalization,
    "DomainSpecificOptimizedNormalization": (
        domain.domain_specific_optimized_normalization
    ),
    "CovarianceNormalization": domain.covariance_normalization,
    "PopulationBatchNormalization": (statistics.population_batch_normalization),
    "GhostBatchNormalization": batch_parts.ghost_batch_normalization,
    "BatchRenormalization": robust_statistics.batch_renormalization,
    "FullNormalization": robust_statistics.full_normalization,
    "MomentumBatchNormalization": (
        robust_statistics.momentum_batch_normalization
    ),
    "OnlineNormalization": online.online_normalization,
    "PowerNormalization": backward_statistics.power_normalization,
    "MovingAverageBatchNormalization": (
        backward_statistics.moving_average_batch_normalization
    ),
    "KalmanNormalization": kalman.kalman_normalization,
    "CrossIterationBatchNormalization": (
        cross_iteration_layers.cross_iteration_batch_normalization
    ),
    "CrossIterationConv2D": cross_iteration_layers.cross_iteration_conv2d,
    "CrossIterationDense": cross_iteration_layers.cross_iteration_dense,
    "FrozenBatchNormalization": batch_parts.frozen_batch_normalization,
    "SwitchableBatchNormalization": batch_parts.switchable_batch_normalization,
    "StochasticBatchNormalization": batch_parts.stochastic_batch_normalization,
    "MemorizedBatchNormalization": (
        robust_statistics.memorized_batch_normalization
    ),
    "FineGrainedBatchNormalization": (
        batch_parts.fine_grained_batch_normalization
    ),
    "FineGrainedConv2D": batch_parts.fine_grained_conv2d,
    "ComposedNormalization": area.composed_normalization,
}

GRADIENTS = {
    "DynamicNormalization": dynamic.dynamic_gradient,
    "BatchChannelNormalization": batch_channel.batch_channel_gradient,
    "MixtureNormalization": modes.mixture_gradient,
    "TransferableNormalization": domain.transferable_gradient,
    "AdaNormalization": adaptive.ada_gradient,
    "LearnableRegionNormalization": spatial.learnable_region_gradient,
    "BatchRenormalization": robust_statistics.batch_renormalization.gradient,
    "FullNormalization": robust_statistics.full_normalization.gradient,
    "MomentumBatchNormalization": (
        robust_statistics.momentum_batch_normalization.gradient
    ),
    "MemorizedBatchNormalization": (
        robust_statistics.memorized_batch_normalization.gradient
    ),
    "OnlineNormalization": online.online_gradient,
    "PowerNormalization": backward_statistics.power_gradient,
    "MovingAverageBatchNormalization": (
        backward_statistics.moving_average_gradient
    ),
    "KalmanNormalization": kalman.kalman_gradient,
    "CrossIterationBatchNormalization": (
        cross_iteration_layers.cross_iteration_batch_normalization.gradient
    ),
    "CrossIterationConv2D": (
        cross_iteration_layers.cross_iteration_conv2d.gradient
    ),
    "CrossIterationDense": (
        cross_iteration_layers.cross_iteration_dense.gradient
    ),
}

INFERENCE_GRADIENTS = {
    "AdaNormalization": adaptive.ada_gradient,
    "DynamicNormalization": functools.partial(
        dynamic.dynamic_gradient, training=False
    ),
    "MixtureNormalization": functools.partial(
        modes.mixture_gradient, training=False
    ),
}
