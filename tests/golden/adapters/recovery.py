"""Recoveries: conditional batch, adaptive instance normalization."""

import numpy as np

from golden.adapters.area import MOVING
from golden.adapters.area import moving
from golden.plans import Link
from golden.plans import Plan
from golden.plans import transposed

PROJECTION = "projection/kernel"


def conditional_batch(row):
    """y = BN(x) * (1 + gain(condition)) + offset(condition).

    Both maps are affine; ours has their constant parts in gamma and beta.
    """
    c = row.channels
    half = {"gain": np.s_[:, :c], "offset": np.s_[:, c:]}
    links = {
        "bias of gain": Link("gamma", to=lambda bias: 1 + bias),
        "bias of offset": "beta",
        **MOVING,
    }
    for name, part in half.items():
        links[f"dense kernel (in,out) of {name}"] = Link(PROJECTION, part)
        links[f"dense kernel (out,in) of {name}"] = transposed(PROJECTION, part)
    arguments = {"epsilon": row.epsilon, **moving(row)}
    for name, role in row.parameters.items():
        if role.startswith("embedding"):
            arguments["num_classes"] = row.shapes[name][0]
            links[role] = Link(PROJECTION, half[role.split()[-1]])
    # Without a bias the gain still starts from 1: gamma stays there.
    return Plan(arguments, links, affine=False)


def adaptive_instance(row):
    config = row.config
    arguments = {
        "variant": config["variant"],
        "epsilon": row.epsilon,
        "unbiased": bool(row.unbiased),
        "alpha": config.get("alpha", 1.0),
    }
    links = {}
    if config["variant"] == "dense":
        gain = config.get("weight_gain")
        arguments["equalized_learning_rate"] = gain is not None
        if gain is not None:
            arguments["gain"] = gain
        # gamma = gamma_offset + the first half; ours is 1 + the first half.
        shift = np.zeros(2 * row.channels)
        shift[: row.channels] = config.get("gamma_offset", 0.0) - 1.0
        for role in row.parameters.values():
            if role.startswith("dense bias"):
                links[role] = Link("bias", to=lambda bias: bias + shift)
            if role.startswith("dense kernel (out"):
                links[role] = transposed("kernel")
            if role.startswith("dense kernel (in"):
                links[role] = Link("kernel")
    return Plan(arguments, links, affine=False)


def ada(row):
    arguments = {
        "multiplier": row.config.get("C", 1.0),
        "k": row.config.get("k", 0.1),
        "epsilon": row.epsilon,
        "unbiased": bool(row.unbiased),
    }
    return Plan(arguments, affine=False)


def instance_level_meta(row):
    config = row.config
    arguments = {
        "area": config["base"],
        "groups": config["num_groups"],
        "key_group_size": config["key_group_size"],
        "reduction": config["reduction"],
        "unbiased": bool(row.unbiased),
        "epsilon": row.epsilon,
    }
    links = {
        "gamma offset w0": "gamma",
        "beta offset b0": "beta",
        "shared dense kernel (out=E,in=K)": transposed("embedding_kernel"),
        "gamma dense kernel (out=K,in=E)": transposed("gamma_kernel"),
        "beta dense kernel (out=K,in=E)": transposed("beta_kernel"),
    }
    return Plan(arguments, links)


def instance_enhancement(row):
    links = {
        "gate weight w": "enhancement_weight",
        "gate bias b": "enhancement_bias",
        **MOVING,
    }
    return Plan({"epsilon": row.epsilon, **moving(row)}, links)


def attentive(row):
    config = row.config
    # Of one group: over all logits of a sample.
    names = {"group": "layer"}
    norm = config.get("attention_norm")
    arguments = {
        "num_mixtures": config["K"],
        "area": config["normalization"],
        "groups": config.get("groups", 32),
        "attention_activation": config["attention_activation"],
        "attention_normalization": names.get(norm, norm),
        "epsilon": row.epsilon,
        **moving(row),
    }
    links = {
        "mixture gammas (K,C)": "gamma",
        "mixture betas (K,C)": "beta",
        "attention conv 1x1 kernel OIHW": transposed("attention_kernel"),
        "attention conv bias": "attention_bias",
        **MOVING,
    }
    for moment in ("mean", "variance"):
        role = f"moving {moment} of the logits"
        links[role] = f"attention/moving_{moment}"
    for role in row.parameters.values():
        if "of the logits'" in role:
            links[role] = f"attention/{role.split()[0]}"
    return Plan(arguments, links)


ADAPTERS = {
    "AdaNormalization": ada,
    "ConditionalBatchNormalization": conditional_batch,
    "AdaptiveInstanceNormalization": adaptive_instance,
    "InstanceLevelMetaNormalization": instance_level_meta,
    "InstanceEnhancementBatchNormalization": instance_enhancement,
    "AttentiveNormalization": attentive,
}
