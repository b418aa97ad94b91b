"""Statistics whose backward pass keeps state of its own."""

import numpy as np

from golden.adapters.area import momentum
from golden.plans import Plan

COMPENSATIONS = {"ls": "layer_scaling", "ac": "clamp"}


def online(row):
    """Samples in order; the control of the gradients is state too."""
    c = row.config
    arguments = {
        "alpha_forward": c["alpha_fwd"],
        "alpha_backward": c["alpha_bkw"],
        "error_compensation": COMPENSATIONS.get(c.get("ecm")),
        "clamp_value": c.get("clamp_val", 5.0),
        "epsilon": row.epsilon,
    }
    links = {
        "streaming mean": "moving_mean",
        "streaming variance": "moving_variance",
        "backward control u": "mean_control",
        "backward control v": "output_control",
    }
    return Plan(arguments, links)


def power(row):
    """The program's mask is (batch, tokens), its data (tokens, batch, C)."""
    c = row.config
    arguments = {
        "groups": c["group_num"],
        "alpha_forward": c["alpha_fwd"],
        "alpha_backward": c["alpha_bkw"],
        "warmup_steps": c["warmup_iters"],
        "epsilon": row.epsilon,
    }
    links = {
        "moving second moment phi": "moving_second_moment",
        "backward moving mean of g*z": "mean_product",
    }
    start = {"step": c["iters_before"]}
    return Plan(arguments, links, start=start, mask=valid_tokens)


def valid_tokens(row, mask, axis):
    """The mask of a call, aligned to the leading axes."""
    marked = np.transpose(mask) != 0
    valid = marked if row.mask_true == "valid" else ~marked
    return valid[:, None] if axis == 1 else valid


def moving_average(row):
    """The size of the buffer is a ratio of batch sizes."""
    c = row.config
    arguments = {
        "buffer_size": c["real_B"] // c["B"],
        "warmup_steps": c["warmup_iters"],
        "epsilon": row.epsilon,
        **momentum(row),
    }
    links = {
        "moving second moment": "moving_second_moment",
        "number of training calls": "step",
        "ring buffer of E[x^2], slot iters % (real_B/B)": "second_moments",
        "ring buffer of mean(g*z)": "products",
    }
    return Plan(arguments, links)


ADAPTERS = {
    "OnlineNormalization": online,
    "PowerNormalization": power,
    "MovingAverageBatchNormalization": moving_average,
}
