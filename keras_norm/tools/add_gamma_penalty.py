"""Sparsity of gamma during training: network slimming's penalty.

Liu, Li, Shen, Huang, Yan & Zhang, 2017, https://arxiv.org/abs/1708.06519
"""

import math
import types

import keras

from keras_norm import errors
from keras_norm.models.channel_norms import scaled
from keras_norm.models.model_functions import renewing
from keras_norm.models.statistics_pass import chosen
from keras_norm.tools.convert import check


def add_gamma_penalty(
    model: keras.Model, strength: float = 1e-4, layers=None
) -> list:
    """Add strength * sum |gamma| to the loss of a built model; in place.

    Training drives gammas of channels that matter little towards 0, and
    `prune` removes these channels. Of a model that is still to be made,
    `gamma_regularizer=keras.regularizers.L1(1e-4)` of its layers does the
    same. The penalty is the layers' `gamma_regularizer` from now on: saved,
    and of copies. A strength of 0 takes it away, for the training after
    pruning.

    A model that is compiled goes on with it; a model around it must be
    compiled again.

    Args:
        model: any built model; nested ones and wrappers are followed.
        strength: of the penalty; Liu et al. use 1e-4 and 1e-5.
        layers: normalization layers: a name, a layer, a class, several of
            these, or a function of a layer. None: all whose channels `prune`
            can remove.

    Returns:
        The names of the layers that have it.

    Raises:
        ValueError: a negative strength; no layer with gamma; a layer with
            another regularizer of gamma.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((3,)), keras.layers.Dense(4),
    ...     keras.layers.BatchNormalization(name="norm")])
    >>> kn.tools.add_gamma_penalty(model, 0.01)
    ['norm']
    >>> round(keras.ops.convert_to_numpy(sum(model.losses)).item(), 6)
    0.04

    Reference:

    - Liu et al., Learning Efficient Convolutional Networks through Network
      Slimming, ICCV 2017, https://arxiv.org/abs/1708.06519

    Note: the gradient, strength * sign(gamma), takes gammas near 0 but not to
    it: prune by a fraction or a threshold. `optimizers.ProximalL1` brings
    them to 0 exactly. A later change of a layer's `trainable` leaves the
    penalty out with the gamma.
    """
    check(model)
    number = isinstance(strength, (int, float)) and strength is not True
    if not number or not (math.isfinite(strength) and strength >= 0):
        raise errors.received(
            "`strength` must be a finite number of at least 0.",
            strength=strength,
        )
    known = [x for x in model._flatten_layers() if scaled(x)]
    readings = [types.SimpleNamespace(layer=x) for x in known]
    wanted = chosen(
        layers, types.SimpleNamespace(readings=readings, unknown=[])
    )
    meant = [x for x in known if wanted(x)]
    if not meant:
        raise errors.received(
            "`model` must have normalization of single channels with gamma"
            + ("." if layers is None else " that `layers` selects."),
            model=model.name,
            layers=layers,
        )
    others = [x.name for x in meant if not replaceable(x.gamma.regularizer)]
    if others:
        raise errors.received(
            "A gamma must have no other regularizer than an L1.",
            "Leave these layers out by `layers`.",
            others=others,
        )
    with renewing(model):
        for layer in meant:
            penalty = keras.regularizers.L1(strength) if strength else None
            # One of the variable, one of the config.
            layer.gamma.regularizer = penalty
            layer.gamma_regularizer = penalty
    return [layer.name for layer in meant]


def replaceable(regularizer) -> bool:
    """Is it none, or one of this tool's?"""
    return regularizer is None or type(regularizer) is keras.regularizers.L1
