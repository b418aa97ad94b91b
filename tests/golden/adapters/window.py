"""Windows: local contrast, local response, divisive, local context."""

import numpy as np

from golden.plans import Link
from golden.plans import Plan


def size(value):
    """A window: one size, or one for each spatial axis."""
    return tuple(value) if isinstance(value, list) else value


def local_contrast(row):
    config = row.config
    border = config.get("border", "renormalize")
    if border != "zero" and config.get("std_border") == "coef_outside_root":
        border = "torch7"
    gaussian = "gauss" in config.get("kernel", "gaussian")
    arguments = {
        "kernel_size": size(config["kernel_size"]),
        "kernel": "gaussian" if gaussian else "box",
        "sigma": config.get("sigma"),
        "across_channels": config.get("across_channels", True),
        "border": border,
    }
    floor = config.get("threshold")
    arguments["floor"] = "mean" if floor is None else floor
    if row.epsilon_place == "replace":
        arguments["floor_value"] = config.get("thresval")
    return Plan(arguments, affine=False)


def local_response(row):
    config = row.config
    width = config.get("size")
    if width is None:
        width = 2 * config["depth_radius"] + 1
    return Plan(
        {
            "size": width,
            "bias": config.get("bias", config.get("k")),
            "alpha": config["alpha"],
            "beta": config["beta"],
            "alpha_per_element": config["alpha_divided_by_size"],
        },
        affine=False,
    )


def window_mean(plan, x, axis):
    """The mean over the summation window that `DivisiveNormalization` removes.

    With an immense sigma it returns (x - mean) / sigma; a power of two, so
    that multiplying by it again rounds nothing.
    """
    sigma = 2.0**30
    layer = plan.layer_of(
        axis,
        sigma_initializer=sigma,
        center=False,
        scale=False,
        dtype=str(x.dtype),
    )
    mean = x - sigma * np.array(layer(x))
    # The window spans the channels: they all have the same mean.
    return np.take(mean, [0], axis)


def divisive(row):
    config = row.config
    arguments = {
        "sum_window": size(config["sum_window"]),
        "sup_window": size(config["sup_window"]),
        "border": config.get("border", "zero"),
        "channel_window": size(config.get("channel_window")),
    }
    links = {
        role: "sigma"
        for role in row.parameters.values()
        if role.startswith("sigma")
    }
    arguments |= {
        "sigma_initializer": float(np.sqrt(row.epsilon)),
        "learn_sigma": bool(links),
    }
    return Plan(arguments, links, probes={"mean": window_mean})


def generalized_divisive(row):
    config = row.config
    arguments = {
        "variant": config.get("variant", "gdn"),
        "inverse": config.get("inverse", False),
        "beta_min": config["beta_min"],
    }
    if config.get("exponent") is not None:
        arguments["exponent"] = config["exponent"]
    # Both programs and ours store what is reparametrized.
    links = {
        role: Link(role.split()[1])
        for role in row.parameters.values()
        if role.startswith("STORED ")
    }
    return Plan(arguments, links, affine=False)


def local_context(row):
    return Plan(
        {
            "channels_per_group": row.config["channels_per_group"],
            "window_size": size(row.config["window_size"]),
            "epsilon": row.epsilon,
            # The program's windows and gradients.
            "compat": True,
        }
    )


ADAPTERS = {
    "LocalContrastNormalization": local_contrast,
    "LocalResponseNormalization": local_response,
    "DivisiveNormalization": divisive,
    "GeneralizedDivisiveNormalization": generalized_divisive,
    "LocalContextNormalization": local_context,
}
