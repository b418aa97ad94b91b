"""Batch normalization as part of the layers beside it."""

import warnings

import keras

from keras_norm import errors
from keras_norm.core.model_copies import check
from keras_norm.models.fold_plan import FoldPlan
from keras_norm.models.fold_report import FoldChange
from keras_norm.models.fold_report import FoldReport
from keras_norm.models.graph_copies import rebuilt

__all__ = ["FoldChange", "FoldReport", "fold"]


def fold(
    model: keras.Model,
    *,
    strict: bool = False,
    return_report: bool = False,
) -> keras.Model | tuple[keras.Model, FoldReport]:
    """A copy of `model` whose linear layers compute its batch normalization.

    At inference y = scale * x + shift, with scale = gamma / sqrt(moving
    variance + epsilon) and shift = beta - moving mean * scale. After a linear
    layer W x + b that is one with

        W' = scale W,  b' = scale b + shift      (scale by outputs),

    and before one it is

        W' = W scale,  b' = b + W shift          (scale by inputs).

    The normalization is gone: fewer layers, the same outputs but for
    rounding. Several in a row go into one layer. Folding into the layer
    before is tried first.

    For a model that is to be served. In training it would be another one:
    nothing is measured any more.

    What is folded: `keras.layers.BatchNormalization`, and the layers of this
    package that at inference are one scale-and-shift for each channel by what
    they keep: `BatchNormalization`, `FrozenBatchNormalization`,
    `GhostBatchNormalization`, `BatchRenormalization`, `FullNormalization`,
    `MomentumBatchNormalization`, `MemorizedBatchNormalization`,
    `PopulationBatchNormalization`, `MeanOnlyBatchNormalization`,
    `ScaleOnlyBatchNormalization`, `LpBatchNormalization`,
    `RangeBatchNormalization`, `StochasticBatchNormalization` with
    inference="moving", and compositions of the same kind.

    Into what: Dense, Conv1D to 3D with groups, DepthwiseConv, SeparableConv
    and ConvTranspose of Keras, also in a weight parametrization of this
    package, which is then baked into the kernel as by
    `remove_parametrizations`. Nested models are followed, also from one into
    the next; one that is called several times is folded within itself.

    A normalization is kept, and the report says why, where folding would
    change the function: an activation between, a layer that is shared, a
    tensor that several layers take or a model returns, another axis than that
    of the channels, zeros padded between it and the convolution after it,
    training=True in its call, statistics of the input itself; and within
    layers whose calls are not known, as `TimeDistributed` and layers of one's
    own.

    Args:
        model: a built Sequential or functional model. It stays as it is.
        strict: raise where a layer that is a scale-and-shift is kept.
        return_report: also return what became of each normalization layer. If
            False, a warning tells of scale-and-shifts that were kept.

    Returns:
        The new model, or (model, report). It has the names, dtype policies,
        trainable flags and other weights of the given one, and is not
        compiled.

    Raises:
        ValueError: a subclassed or unbuilt model; a layer that cannot be
            copied; with `strict`, a layer that is kept.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential(
    ...     [keras.Input((8, 8, 3)),
    ...      keras.layers.Conv2D(4, 3, name="conv"),
    ...      keras.layers.BatchNormalization(name="norm"),
    ...      keras.layers.ReLU(name="relu")],
    ...     name="images")
    >>> folded, report = kn.tools.fold(model, return_report=True)
    >>> print(report)
    1 folded, 0 kept
      images/norm: keras.BatchNormalization folded into images/conv
    >>> [layer.name for layer in folded.layers]
    ['conv', 'relu']

    Reference:

    - Jacob et al., Quantization and Training of Neural Networks for Efficient
      Integer-Arithmetic-Only Inference, CVPR 2018,
      https://arxiv.org/abs/1712.05877

    Note: kernels are computed in float64 and rounded once. Under a policy of
    half precision the layer before rounds its result, which the normalization
    then scales; folded, that is one rounding, and outputs differ by it. An
    output of the model that a normalization computed has the name of the layer
    that computes it now.
    """
    check(model)
    plan = FoldPlan(model)
    if strict and plan.refused:
        listed = "\n".join(f"  {change}" for change in plan.refused)
        raise errors.received(
            "With `strict`, every batch normalization of the model must be "
            f"possible to fold; these are not:\n{listed}\n",
            "Leave `strict` out to fold the others.",
            strict=strict,
        )

    def replacement(layer):
        folding = plan.foldings.get(id(layer))
        return None if folding is None else folding.made()

    made = rebuilt(model, replacement, plan.removed)
    report = FoldReport(plan.changes)
    if return_report:
        return made, report
    if plan.refused:
        listed = "\n".join(f"  {change}" for change in plan.refused)
        warnings.warn(
            "Not every batch normalization could be folded (with "
            f"`return_report=True` this is no warning):\n{listed}",
            stacklevel=2,
        )
    return made
