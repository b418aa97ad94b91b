"""Network slimming: channels of small gamma removed.

Liu, Li, Shen, Huang, Yan & Zhang, 2017, https://arxiv.org/abs/1708.06519
"""

import keras

from keras_norm import errors
from keras_norm.models.channel_choice import Choice
from keras_norm.models.channel_choice import Chooser
from keras_norm.models.channel_flow import ChannelFlow
from keras_norm.models.channel_removal import masked_copy
from keras_norm.models.channel_removal import smaller_copy
from keras_norm.models.layer_copies import is_graph
from keras_norm.models.layer_graph import opened
from keras_norm.models.pruning_report import LayerPruning
from keras_norm.models.pruning_report import PruningReport
from keras_norm.models.pruning_report import pruning_report

__all__ = ["LayerPruning", "PruningReport", "mask_channels", "prune"]


def prune(
    model: keras.Model,
    fraction: float | None = None,
    *,
    threshold: float | None = None,
    masks: dict | None = None,
    layers=None,
    beta: str = "absorb",
    return_report: bool = False,
) -> keras.Model | tuple[keras.Model, PruningReport]:
    """A smaller copy of `model`, without the channels of the least |gamma|.

    A channel whose gamma is 0 has the same value everywhere, an activation of
    its beta. It is removed: from the normalization, from the kernel that
    makes it and from those that use it, whose biases take what it added. The
    copy computes what the model does with these gammas at 0 (`mask_channels`
    gives that model).

    Channels that a sum, a product or a depthwise convolution ties are removed
    together or not at all, and count by the greatest of their |gamma|.
    Concatenations, pooling, flattening, dropout and activations are followed,
    and so are nested models; shared layers stay shared. Channels that meet
    any other layer stay (the report names it), and so do inputs, outputs and
    at least one channel of every tensor. Names, options and other weights are
    those of the model. The copy is not compiled; `model` stays as it is.

    Args:
        model: a built Sequential or functional model.
        fraction: of the channels that can be removed, over all layers; those
            of the least |gamma| go.
        threshold: instead, all with |gamma| up to this; 0 removes what a
            penalty has brought to 0 (see `add_gamma_penalty`).
        masks: instead, {name or path of a normalization layer: an array of
            booleans, True for channels to keep}.
        layers: normalization layers whose channels count: a name, a layer, a
            class, several of these, or a function of a layer. None: all of
            Keras' and this package's `BatchNormalization`, batch
            normalization with statistics of other kinds (renormalization,
            frozen, full, ghost, momentum, stochastic), and
            `InstanceNormalization`.
        beta: "absorb" keeps the beta of a removed channel wherever what it
            adds is the same at every position, so that biases can take it,
            and takes it for 0 elsewhere: in front of a convolution that pads,
            for example. "zero" takes it for 0 everywhere, as Liu et al. do.
        return_report: also return what was removed, and what cannot be.

    Returns:
        The new model, or (model, report).

    Raises:
        ValueError: not exactly one of `fraction`, `threshold` and `masks`; a
            fraction outside [0, 1); masks of other layers or shapes, or of
            channels that cannot be removed; no channel that can be; a model
            that is not built or has no graph.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)),
    ...     keras.layers.Conv2D(4, 3, name="conv"),
    ...     keras.layers.BatchNormalization(name="norm"),
    ...     keras.layers.ReLU(),
    ...     keras.layers.Flatten(),
    ...     keras.layers.Dense(2, name="head")], name="images")
    >>> _ = model.get_layer("norm").gamma.assign([0.5, 0.0, 1.0, 0.01])
    >>> small, report = kn.tools.prune(model, 0.5, return_report=True)
    >>> print(report)
    2 of 4 channels removed, 418 -> 210 parameters
      images/norm: BatchNormalization, 2 of 4 channels kept
    >>> tuple(small.get_layer("head").kernel.shape)
    (72, 2)

    Reference:

    - Liu et al., Learning Efficient Convolutional Networks through Network
      Slimming, ICCV 2017, https://arxiv.org/abs/1708.06519
    - Ye et al., Rethinking the Smaller-Norm-Less-Informative Assumption in
      Channel Pruning of Convolution Layers, ICLR 2018,
      https://arxiv.org/abs/1802.00124

    Note: Liu et al. remove all |gamma| <= t, t the entry at
    int(fraction * n) of the sorted ones: one more than asked for, or many
    more where entries are equal, and also of a fraction of 0. Here the number
    is int(fraction * n), the first of equal ones. Their program selects
    channels behind a first normalization by a layer of its own; here these
    stay, tied to the sum that they come from. What is constant at inference
    varies in training where dropout follows.
    """
    flow, chooser, choice = chosen_channels(
        model, fraction, threshold, masks, layers, beta
    )
    made = smaller_copy(flow, choice)
    report = pruning_report(model, made, chooser, choice)
    return (made, report) if return_report else made


def mask_channels(
    model: keras.Model,
    fraction: float | None = None,
    *,
    threshold: float | None = None,
    masks: dict | None = None,
    layers=None,
    beta: str = "absorb",
    return_report: bool = False,
) -> keras.Model | tuple[keras.Model, PruningReport]:
    """A copy of `model` in which the gammas that `prune` would remove are 0.

    It has the shapes of the model and the outputs of the pruned one. Betas of
    the same channels are 0 where the pruned model cannot absorb them.

    Args:
        model: see `prune`, as all others.
        fraction: of the channels that can be removed.
        threshold: greatest |gamma| that is masked.
        masks: {layer: True for channels to keep}.
        layers: whose channels count.
        beta: "absorb" or "zero".
        return_report: also return what was masked.

    Returns:
        The new model, or (model, report).

    Raises:
        ValueError: see `prune`.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((3,)), keras.layers.Dense(4),
    ...     keras.layers.BatchNormalization(name="norm"),
    ...     keras.layers.Dense(2)])
    >>> _ = model.get_layer("norm").gamma.assign([0.5, -2.0, 1.0, 0.25])
    >>> masked = kn.tools.mask_channels(model, threshold=0.5)
    >>> print(keras.ops.convert_to_numpy(masked.get_layer("norm").gamma))
    [ 0. -2.  1.  0.]

    Reference:

    - Liu et al., Learning Efficient Convolutional Networks through Network
      Slimming, ICCV 2017, https://arxiv.org/abs/1708.06519
    """
    flow, chooser, choice = chosen_channels(
        model, fraction, threshold, masks, layers, beta
    )
    made = masked_copy(flow, choice)
    report = pruning_report(model, made, chooser, choice)
    return (made, report) if return_report else made


def chosen_channels(
    model, fraction, threshold, masks, layers, beta
) -> tuple[ChannelFlow, Chooser, Choice]:
    """What the arguments of `prune` mean for a model."""
    check_graph(model)
    given = {"fraction": fraction, "threshold": threshold, "masks": masks}
    if sum(value is not None for value in given.values()) != 1:
        raise errors.received(
            "Exactly one of `fraction`, `threshold` and `masks` must be given.",
            **given,
        )
    for name, end in (("fraction", 1.0), ("threshold", float("inf"))):
        value = given[name]
        if value is None:
            continue
        number = isinstance(value, (int, float)) and value is not True
        if not number or not 0 <= value < end:
            raise errors.received(
                f"`{name}` must be a number in [0, {end}).", **{name: value}
            )
    flow = ChannelFlow(model)
    chooser = Chooser(flow, layers, beta)
    if masks is not None:
        return flow, chooser, chooser.by_masks(masks)
    return flow, chooser, chooser.by_score(fraction, threshold)


def check_graph(model) -> None:
    """Refuse what is no built model with a graph."""
    # A Sequential model has a graph once it is built for a known shape.
    graph = isinstance(model, keras.Model) and is_graph(model)
    if not graph or (model.built and not opened(model)):
        raise errors.received(
            "`model` must be a Sequential or functional model.",
            "Of other models, and those without `keras.Input`, the calls of "
            "the layers are not known.",
            model=getattr(model, "name", model),
            model_class=type(model).__name__,
        )
    if not model.built:
        raise errors.received(
            "`model` must be built.",
            "Give it a `keras.Input`, or call it on data first.",
            model=model.name,
        )
