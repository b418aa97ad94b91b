"""Smaller gammas, larger kernels behind them, the same function.

Ye, Lu, Lin & Wang, 2018, https://arxiv.org/abs/1802.00124
"""

import keras
import numpy as np

from keras_norm import errors
from keras_norm.models.channel_choice import prunable
from keras_norm.models.channel_flow import ChannelFlow
from keras_norm.models.channel_kernels import Kernel
from keras_norm.models.channel_scales import Scales
from keras_norm.models.layer_calls import assign
from keras_norm.models.layer_calls import host
from keras_norm.tools.prune import check_graph


def rescale_gamma(model: keras.Model, alpha: float, layers=None) -> list:
    """gamma <- alpha gamma, beta <- alpha beta, kernels behind <- W / alpha.

    The function of the model stays what it was, wherever only f(alpha x) =
    alpha f(x) is between the normalization and the kernels that use it: ReLU
    and leaky ones, pooling, dropout, flattening, sums and concatenations. A
    penalty on gamma then weighs less, or more, against the loss: with alpha
    < 1 gamma is small against the learning rate, and a penalty
    (`add_gamma_penalty`, `optimizers.ProximalL1`) makes it sparse in fewer
    steps. After training, 1 / alpha gives the scale back; what is 0 stays 0.

    Weights change in place, and nothing else does. Call it before training:
    momentum that an optimizer has is of the old scale.

    Args:
        model: a built Sequential or functional model.
        alpha: above 0; a power of 2 changes no bit of the outputs. Ye et al.
            use 0.001 to 1.
        layers: which normalization layers; see `prune`. None: all that it is
            possible for. Others that are asked for are an error.

    Returns:
        The names of the layers whose gammas have changed.

    Raises:
        ValueError: an alpha that is not above 0; no layer that can be
            rescaled, or layers that are asked for and cannot: another
            activation follows, another normalization, an output, a sum with
            what is not rescaled, or a layer that is not known. Nothing is
            changed then.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> model = keras.Sequential([
    ...     keras.Input((3,)), keras.layers.Dense(4),
    ...     keras.layers.BatchNormalization(name="norm"),
    ...     keras.layers.ReLU(), keras.layers.Dense(2)])
    >>> x = keras.ops.ones((1, 3))
    >>> before = keras.ops.convert_to_numpy(model(x))
    >>> kn.tools.rescale_gamma(model, 0.125)
    ['norm']
    >>> print(keras.ops.convert_to_numpy(model.get_layer("norm").gamma))
    [0.125 0.125 0.125 0.125]
    >>> bool((keras.ops.convert_to_numpy(model(x)) == before).all())
    True

    Reference:

    - Ye et al., Rethinking the Smaller-Norm-Less-Informative Assumption in
      Channel Pruning of Convolution Layers, ICLR 2018,
      https://arxiv.org/abs/1802.00124
    """
    check_graph(model)
    number = isinstance(alpha, (int, float)) and alpha is not True
    if not number or not 0 < alpha < np.inf:
        raise errors.received(
            "`alpha` must be a finite number above 0.", alpha=alpha
        )
    flow = ChannelFlow(model)
    wanted = prunable(flow, layers)
    scales = Scales(flow, wanted, float(alpha))
    if not scales.rules or (layers is not None and scales.refused):
        raise errors.received(
            "`layers` must be such that a factor of their outputs reaches the "
            "kernels behind them unchanged.",
            "Leave the others out by `layers`.",
            **{
                r.layer.name: scales.refused[id(r.layer)]
                for r in wanted
                if id(r.layer) in scales.refused
            },
        )
    # All is computed before anything is assigned.
    found = []
    for rule in scales.rules:
        for name in ("gamma", "beta"):
            variable = getattr(rule.layer, name, None)
            if variable is not None:
                found.append((variable, alpha * host(variable)))
    for key, factors in scales.divisors.items():
        kernel = flow.rules[key]
        if isinstance(kernel, Kernel) and np.any(factors != 1):
            for name, value in kernel.divided(factors).items():
                found.append((getattr(kernel.layer, name), value))
    for variable, value in found:
        assign(variable, value)
    return [rule.layer.name for rule in scales.rules]
