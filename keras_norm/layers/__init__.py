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
from keras_norm.layers.area.learnable_region_normalization import (
    LearnableRegionNormalization,
)
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
from keras_norm.layers.area.region_normalization import RegionNormalization
from keras_norm.layers.domain.covariance_normalization import (
    CovarianceNormalization,
)
from keras_norm.layers.domain.domain_alignment_normalization import (
    DomainAlignmentNormalization,
)
from keras_norm.layers.domain.domain_specific_batch_normalization import (
    DomainSpecificBatchNormalization,
)
from keras_norm.layers.domain.domain_specific_optimized_normalization import (
    DomainSpecificOptimizedNormalization,
)
from keras_norm.layers.domain.transferable_normalization import (
    TransferableNormalization,
)
from keras_norm.layers.mixture.batch_channel_normalization import (
    BatchChannelNormalization,
)
from keras_norm.layers.mixture.batch_instance_normalization import (
    BatchInstanceNormalization,
)
from keras_norm.layers.mixture.dynamic_normalization import DynamicNormalization
from keras_norm.layers.mixture.exemplar_normalization import (
    ExemplarNormalization,
)
from keras_norm.layers.mixture.instance_batch_normalization import (
    InstanceBatchNormalization,
)
from keras_norm.layers.mixture.layer_instance_normalization import (
    AdaptiveLayerInstanceNormalization,
)
from keras_norm.layers.mixture.layer_instance_normalization import (
    LayerInstanceNormalization,
)
from keras_norm.layers.mixture.mixture_normalization import MixtureNormalization
from keras_norm.layers.mixture.mode_normalization import ModeNormalization
from keras_norm.layers.mixture.sparse_switchable_normalization import (
    SparseSwitchableNormalization,
)
from keras_norm.layers.mixture.switchable_normalization import (
    SwitchableNormalization,
)
from keras_norm.layers.mixture.task_normalization import TaskNormalization
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
from keras_norm.layers.recovery.ada_normalization import AdaNormalization
from keras_norm.layers.recovery.adaptive_convolution_normalization import (
    AdaptiveConvolutionNormalization,
)
from keras_norm.layers.recovery.adaptive_instance_normalization import (
    AdaptiveInstanceNormalization,
)
from keras_norm.layers.recovery.attentive_normalization import (
    AttentiveNormalization,
)
from keras_norm.layers.recovery.conditional_batch_normalization import (
    ConditionalBatchNormalization,
)
from keras_norm.layers.recovery.conditional_instance_normalization import (
    ConditionalInstanceNormalization,
)
from keras_norm.layers.recovery.dynamic_instance_normalization import (
    DynamicInstanceNormalization,
)
from keras_norm.layers.recovery.dynamic_layer_normalization import (
    DynamicLayerNormalization,
)
from keras_norm.layers.recovery.instance_enhancement_normalization import (
    InstanceEnhancementBatchNormalization,
)
from keras_norm.layers.recovery.instance_level_meta_normalization import (
    InstanceLevelMetaNormalization,
)
from keras_norm.layers.recovery.self_modulated_batch_normalization import (
    SelfModulatedBatchNormalization,
)
from keras_norm.layers.recovery.semantic_attentive_normalization import (
    SemanticAttentiveNormalization,
)
from keras_norm.layers.recovery.spatially_adaptive_normalization import (
    SpatiallyAdaptiveNormalization,
)
from keras_norm.layers.recurrent.batch_normalized_lstm import (
    BatchNormalizedLSTM,
)
from keras_norm.layers.recurrent.layer_normalized_gru import LayerNormalizedGRU
from keras_norm.layers.recurrent.layer_normalized_gru_cell import (
    LayerNormalizedGRUCell,
)
from keras_norm.layers.recurrent.layer_normalized_lstm import (
    LayerNormalizedLSTM,
)
from keras_norm.layers.recurrent.layer_normalized_lstm_cell import (
    LayerNormalizedLSTMCell,
)
from keras_norm.layers.statistics.batch_renormalization import (
    BatchRenormalization,
)
from keras_norm.layers.statistics.cross_iteration_batch_normalization import (
    CrossIterationBatchNormalization,
)
from keras_norm.layers.statistics.cross_iteration_conv2d import (
    CrossIterationConv2D,
)
from keras_norm.layers.statistics.cross_iteration_dense import (
    CrossIterationDense,
)
from keras_norm.layers.statistics.fine_grained_batch_normalization import (
    FineGrainedBatchNormalization,
)
from keras_norm.layers.statistics.fine_grained_conv2d import FineGrainedConv2D
from keras_norm.layers.statistics.frozen_batch_normalization import (
    FrozenBatchNormalization,
)
from keras_norm.layers.statistics.full_normalization import FullNormalization
from keras_norm.layers.statistics.ghost_batch_normalization import (
    GhostBatchNormalization,
)
from keras_norm.layers.statistics.kalman_normalization import (
    KalmanNormalization,
)
from keras_norm.layers.statistics.memorized_batch_normalization import (
    MemorizedBatchNormalization,
)
from keras_norm.layers.statistics.momentum_batch_normalization import (
    MomentumBatchNormalization,
)
from keras_norm.layers.statistics.moving_average_batch_normalization import (
    MovingAverageBatchNormalization,
)
from keras_norm.layers.statistics.online_normalization import (
    OnlineNormalization,
)
from keras_norm.layers.statistics.population_batch_normalization import (
    PopulationBatchNormalization,
)
from keras_norm.layers.statistics.power_normalization import PowerNormalization
from keras_norm.layers.statistics.stochastic_batch_normalization import (
    StochasticBatchNormalization,
)
from keras_norm.layers.statistics.switchable_batch_normalization import (
    SwitchableBatchNormalization,
)
from keras_norm.layers.weights.centered_weight_normalization import (
    CenteredWeightNormalization,
)
from keras_norm.layers.weights.cosine_conv2d import CosineConv2D
from keras_norm.layers.weights.cosine_dense import CosineDense
from keras_norm.layers.weights.gaussian_poincare_activation import (
    GaussianPoincareActivation,
)
from keras_norm.layers.weights.newton_orthogonalization import (
    NewtonOrthogonalization,
)
from keras_norm.layers.weights.normalization_propagation import (
    NormalizationPropagation,
)
from keras_norm.layers.weights.orthogonal_parametrization import (
    OrthogonalParametrization,
)
from keras_norm.layers.weights.orthogonal_weight_normalization import (
    OrthogonalWeightNormalization,
)
from keras_norm.layers.weights.quantized_kernel import QuantizedKernel
from keras_norm.layers.weights.scaled_weight_standardization import (
    ScaledWeightStandardization,
)
from keras_norm.layers.weights.spectral_normalization import (
    SpectralNormalization,
)
from keras_norm.layers.weights.weight_centralization import WeightCentralization
from keras_norm.layers.weights.weight_normalization import WeightNormalization
from keras_norm.layers.weights.weight_standardization import (
    WeightStandardization,
)
from keras_norm.layers.whitening.channel_deconvolution import (
    ChannelDeconvolution,
)
from keras_norm.layers.whitening.deconvolution_conv2d import DeconvolutionConv2D
from keras_norm.layers.whitening.deconvolution_dense import DeconvolutionDense
from keras_norm.layers.whitening.decorrelated_batch_normalization import (
    DecorrelatedBatchNormalization,
)
from keras_norm.layers.whitening.domain_whitening import DomainWhitening
from keras_norm.layers.whitening.group_whitening import GroupWhitening
from keras_norm.layers.whitening.groupwise_whitening_coloring import (
    GroupwiseWhiteningColoring,
)
from keras_norm.layers.whitening.iterative_normalization import (
    IterativeNormalization,
)
from keras_norm.layers.whitening.mean_normalized_dense import (
    MeanNormalizedDense,
)
from keras_norm.layers.whitening.running_mean_centering import (
    RunningMeanCentering,
)
from keras_norm.layers.whitening.switchable_whitening import SwitchableWhitening
from keras_norm.layers.whitening.whitened_dense import WhitenedDense
from keras_norm.layers.whitening.whitening_coloring_batch_normalization import (
    WhiteningColoringBatchNormalization,
)
from keras_norm.layers.whitening.whitening_coloring_transform import (
    WhiteningColoringTransform,
)

__all__ = [
    "AdaNormalization",
    "AdaptiveConvolutionNormalization",
    "AdaptiveInstanceNormalization",
    "AdaptiveLayerInstanceNormalization",
    "AttentiveNormalization",
    "BatchChannelNormalization",
    "BatchGroupNormalization",
    "BatchInstanceNormalization",
    "BatchNormalization",
    "BatchNormalizedLSTM",
    "BatchRenormalization",
    "CenteredWeightNormalization",
    "ChannelDeconvolution",
    "ComposedNormalization",
    "ConditionalBatchNormalization",
    "ConditionalInstanceNormalization",
    "CosineConv2D",
    "CosineDense",
    "CovarianceNormalization",
    "CrossIterationBatchNormalization",
    "CrossIterationConv2D",
    "CrossIterationDense",
    "DeconvolutionConv2D",
    "DeconvolutionDense",
    "DecorrelatedBatchNormalization",
    "DivisiveNormalization",
    "DomainAlignmentNormalization",
    "DomainSpecificBatchNormalization",
    "DomainSpecificOptimizedNormalization",
    "DomainWhitening",
    "DynamicInstanceNormalization",
    "DynamicLayerNormalization",
    "DynamicNormalization",
    "EvoNorm",
    "ExemplarNormalization",
    "FilterResponseNormalization",
    "FineGrainedBatchNormalization",
    "FineGrainedConv2D",
    "FrozenBatchNormalization",
    "FullNormalization",
    "GaussianPoincareActivation",
    "GeneralizedBatchNormalization",
    "GeneralizedDivisiveNormalization",
    "GhostBatchNormalization",
    "GroupNormalization",
    "GroupWhitening",
    "GroupwiseWhiteningColoring",
    "InstanceBatchNormalization",
    "InstanceEnhancementBatchNormalization",
    "InstanceLevelMetaNormalization",
    "InstanceNormalization",
    "IterativeNormalization",
    "KalmanNormalization",
    "LayerInstanceNormalization",
    "LayerNormalization",
    "LayerNormalizedGRU",
    "LayerNormalizedGRUCell",
    "LayerNormalizedLSTM",
    "LayerNormalizedLSTMCell",
    "LearnableRegionNormalization",
    "LocalContextNormalization",
    "LocalContrastNormalization",
    "LocalResponseNormalization",
    "LpBatchNormalization",
    "MeanNormalizedDense",
    "MeanOnlyBatchNormalization",
    "MemorizedBatchNormalization",
    "MixtureNormalization",
    "ModeNormalization",
    "MomentShortcut",
    "MovingAverageBatchNormalization",
    "MomentumBatchNormalization",
    "NewtonOrthogonalization",
    "NormalizationPropagation",
    "OnlineNormalization",
    "OrthogonalParametrization",
    "OrthogonalWeightNormalization",
    "PixelNormalization",
    "PopulationBatchNormalization",
    "PositionalNormalization",
    "PowerNormalization",
    "QuantizedKernel",
    "RMSNormalization",
    "RangeBatchNormalization",
    "RegionNormalization",
    "RunningMeanCentering",
    "ScaleOnlyBatchNormalization",
    "ScaledWeightStandardization",
    "SelfModulatedBatchNormalization",
    "SemanticAttentiveNormalization",
    "SpatiallyAdaptiveNormalization",
    "SparseSwitchableNormalization",
    "SpectralNormalization",
    "StochasticBatchNormalization",
    "SwitchableBatchNormalization",
    "SwitchableNormalization",
    "SwitchableWhitening",
    "TLU",
    "TaskNormalization",
    "TransferableNormalization",
    "UnitNormalization",
    "VarianceOnlyLayerNormalization",
    "WeightCentralization",
    "WeightNormalization",
    "WeightStandardization",
    "WhitenedDense",
    "WhiteningColoringBatchNormalization",
    "WhiteningColoringTransform",
]
