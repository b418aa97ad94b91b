"""Chapter recovery: where scale and offset come from."""

import numpy as np

from .common import bessel
from .common import entry_weights
from .common import from_npc
from .common import moments
from .common import moving_average
from .common import prepare
from .common import set_labels
from .common import settings
from .common import to_npc
from .shapes import start


def condition_features(condition, weights, num_classes):
    """The vector c of every sample (combinations.md 4.1).

    Class numbers (N,) or (N, 1) become one-hot rows; soft classes and
    features (N, D) are taken as they are; with a hidden layer
    c = relu(condition @ hidden_kernel + hidden_bias).
    """
    condition = np.asarray(condition, dtype="float64")
    is_index = condition.ndim == 1 or condition.shape[1] == 1
    if num_classes is not None and is_index:
        index = condition.reshape(-1).astype(int)
        condition = np.eye(num_classes)[index]
    if "hidden_kernel" in weights:
        hidden = condition @ np.asarray(weights["hidden_kernel"])
        hidden = hidden + np.asarray(weights.get("hidden_bias", 0.0))
        condition = np.maximum(hidden, 0)
    return condition


def conditional_batch_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = gamma_n BN(x) + beta_n (combinations.md 4.1).

    gamma_n = gamma + c_n Wg, beta_n = beta + c_n Wb with
    projection = [Wg, Wb]; without scale gamma = 1, without center beta = 0.
    """
    s = settings(
        config,
        num_classes=None,
        hidden_units=None,
        axis=-1,
        momentum=0.9,
        epsilon=1e-5,
        unbiased_moving_variance=False,
        center=True,
        scale=True,
    )
    x, w, shape = prepare(inputs, s.axis, mask)
    state = start("ConditionalBatchNormalization", config, shape, state)
    channels = x.shape[-1]
    new = dict(state)
    if training:
        labels, count = set_labels("batch", x.shape)
        mean, variance, total = moments(x, w, labels, count)
        stored = variance
        if s.unbiased_moving_variance:
            stored = variance * bessel(total)
        new["moving_mean"] = moving_average(
            state["moving_mean"], mean, total, s.momentum
        )
        new["moving_variance"] = moving_average(
            state["moving_variance"], stored, total, s.momentum
        )
    else:
        mean, variance = state["moving_mean"], state["moving_variance"]
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)

    c = condition_features(inputs[1], weights, s.num_classes)
    projection = weights.get("projection", np.zeros((c.shape[1], 2 * channels)))
    change = c @ np.asarray(projection, dtype="float64")
    gamma, beta = np.ones(channels), np.zeros(channels)
    if s.scale and "gamma" in weights:
        gamma = np.asarray(weights["gamma"], dtype="float64")
    if s.center and "beta" in weights:
        beta = np.asarray(weights["beta"], dtype="float64")
    gamma = gamma + change[:, None, :channels]
    beta = beta + change[:, None, channels:]
    return from_npc(gamma * normalized + beta, s.axis, shape), new


def instance_moments(x, w, unbiased):
    """Mean and variance over the positions: (N, 1, C) each."""
    labels, count = set_labels("instance", x.shape)
    mean, variance, total = moments(x, w, labels, count)
    if unbiased:
        variance = variance * bessel(total)
    compact = (x.shape[0], 1, x.shape[2])
    return mean.reshape(compact), variance.reshape(compact)


def adaptive_instance_normalization(
    inputs, config, weights, state, training, mask=None
):
    """y = scale IN(x) + offset, blended (combinations.md 4.4 to 4.6).

    IN(x) = (x - mean) / sqrt(var + eps) per sample and channel.
    style: scale = sqrt(var(style) + eps), offset = mean(style);
    generated: scale, offset are inputs (N, C), or one input [scale, offset];
    dense: [a, b] = style @ (kernel gain / sqrt(D)) + bias, scale = 1 + a,
    offset = b. Result: alpha y + (1 - alpha) x.
    `mask` may be a list: one for x, one for the style map.
    """
    s = settings(
        config,
        variant="style",
        axis=-1,
        epsilon=1e-5,
        unbiased=False,
        alpha=1.0,
        equalized_learning_rate=True,
        gain=1.0,
    )
    style_mask = None
    if isinstance(mask, list | tuple):
        mask, style_mask = mask[0], mask[1]
    x, w, shape = prepare(inputs, s.axis, mask)
    channels = x.shape[-1]
    mean, variance = instance_moments(x, w, s.unbiased)
    normalized = (x - mean) / np.sqrt(variance + s.epsilon)
    if s.variant == "style":
        style_weights = entry_weights(np.shape(inputs[1]), style_mask)
        style_mean, style_variance = instance_moments(
            to_npc(inputs[1], s.axis),
            to_npc(style_weights, s.axis),
            s.unbiased,
        )
        scale, offset = np.sqrt(style_variance + s.epsilon), style_mean
    elif s.variant == "generated":
        if len(inputs) == 2:
            scale, offset = np.split(np.asarray(inputs[1]), 2, axis=-1)
        else:
            scale, offset = inputs[1:]
        scale = np.asarray(scale, dtype="float64")[:, None, :]
        offset = np.asarray(offset, dtype="float64")[:, None, :]
    else:
        style = np.asarray(inputs[1], dtype="float64")
        kernel = np.asarray(weights["kernel"], dtype="float64")
        if s.equalized_learning_rate:
            kernel = kernel * s.gain / np.sqrt(kernel.shape[0])
        halves = style @ kernel + weights.get("bias", 0.0)
        scale = 1 + halves[:, None, :channels]
        offset = halves[:, None, channels:]
    y = scale * normalized + offset
    y = s.alpha * y + (1 - s.alpha) * x
    return from_npc(y, s.axis, shape), {}
