"""Mixtures of areas and of modes."""

import keras
import numpy as np

import keras_norm as kn
from golden.adapters.area import MOVING
from golden.adapters.area import momentum
from golden.plans import Link
from golden.plans import Plan
from golden.plans import transposed
from golden.rows import CHANNEL_AXIS


def switchable(row):
    normalizers = ["instance", "layer", "batch"]
    if not row.config.get("using_bn", True):
        normalizers.remove("batch")
    if row.rank == 2:
        normalizers.remove("instance")
    return Plan(
        {
            "normalizers": tuple(normalizers),
            "epsilon": row.epsilon,
            "unbiased": row.unbiased,
            **momentum(row),
        },
        {
            "logits of the mean weights": "mean_weight",
            "logits of the variance weights": "variance_weight",
            **MOVING,
        },
    )


def sparse_switchable(row):
    plan = switchable(row)
    plan.start["radius"] = row.config["radius"]
    plan.probes.update(
        out_mean_weight=shares(row, "param_mean_weight"),
        out_var_weight=shares(row, "param_var_weight"),
    )
    return plan


def shares(row, name):
    """What the areas count, by the function that the layer uses."""

    def probe(plan, x, axis):
        logits = row.arrays[name].astype("float32")
        share = kn.ops.sparsestmax(logits, row.config["radius"])
        return keras.ops.convert_to_numpy(share)

    return probe


def moving_unbiased(row):
    """Links of averages whose variance the program divides by m - 1.

    Ours are biased: what the step has added is corrected by m / (m - 1).
    """
    (name,) = (
        n
        for n, role in row.state.items()
        if n.startswith("state0_") and role.startswith("moving variance")
    )
    before = row.keep_momentum * row.arrays[name].reshape(-1)
    shape = row.input_shape
    m = np.prod(shape) / shape[CHANNEL_AXIS[row.layout]]

    def corrected(variance):
        return before + (variance - before) * m / (m - 1)

    return {
        "moving mean": "moving_mean",
        "moving variance": Link("moving_variance", back=corrected),
    }


def batch_instance(row):
    return Plan(
        {"epsilon": row.epsilon, **momentum(row)},
        {"gate rho": "gate", **moving_unbiased(row)},
        inference_state=True,
    )


def layer_instance(row):
    return Plan(
        {"epsilon": row.epsilon, "unbiased": row.unbiased},
        {"gate rho": "gate"},
        # The adaptive layer has no gamma and beta of its own.
        affine="gamma" not in row.inputs,
    )


def task(row):
    """The second set is met by the layer as the first has left it."""
    made = []

    def make(axis, **keywords):
        made[:] = [
            kn.layers.TaskNormalization(
                axis=axis,
                epsilon=row.epsilon,
                unbiased=row.unbiased,
                augment=row.config["augment"],
                **keywords,
            )
        ]
        return made[0]

    def second(plan, x, axis):
        other = np.moveaxis(row.arrays["x2"], 1, axis).astype(x.dtype)
        return keras.ops.convert_to_numpy(made[0](other, training=False))

    return Plan(
        links={
            "slope a of alpha = sigmoid(a*N+b)": "slope",
            "offset b": "offset",
            "mean of the context batch": "context_mean",
            "variance of the context batch (unbiased)": "context_variance",
            "number of context samples N": "context_size",
        },
        make=make,
        probes={"y2_eval": second},
    )


def instance_batch(row):
    half = int(row.channels * row.config["ratio"])
    links = moving_unbiased(row)
    parts = {"instance": np.s_[:half], "batch": np.s_[half:]}
    for name in ("gamma", "beta"):
        for part, index in parts.items():
            links[f"{name} of the {part} part"] = Link(name, index)
    for name in ("mean", "variance"):
        links[f"moving {name} of the batch part"] = links.pop(f"moving {name}")
    return Plan(
        {
            "ratio": row.config["ratio"],
            "epsilon": row.epsilon,
            **momentum(row),
        },
        links,
        inference_state=True,
    )


def batch_channel(row):
    links = moving_unbiased(row)
    for name in ("gamma", "beta"):
        links[f"{name} of the batch part"] = name
        for shape in ("GROUP (1,G,1)", "channel"):
            role = f"{name} of the channel (group) part, per {shape}"
            links[role] = f"group_{name}"
    return Plan(
        {
            "groups": row.config["num_groups"],
            "estimate": row.config["estimate"],
            "channel_affine": row.config["channel_affine"],
            "epsilon": row.epsilon,
            **momentum(row),
        },
        links,
        inference_state=True,
    )


class SecondMoment(Link):
    """E[x^2], where the layer has the variance; the mean is written before."""

    def write(self, weights, values):
        mean = weights["moving_mean"]
        variance = np.reshape(values, mean.shape) - mean**2
        weights[self.weight][...] = variance

    def read(self, weights, shape):
        second = weights[self.weight] + weights["moving_mean"] ** 2
        return np.reshape(second, shape)


def mode(row):
    kernel = "gate_kernel"
    return Plan(
        {
            "num_modes": row.config["n_components"],
            "epsilon": row.epsilon,
            **momentum(row),
        },
        {
            "gamma (shared by the modes)": "gamma",
            "beta (shared by the modes)": "beta",
            "gate dense kernel (out=K,in=C)": transposed(kernel),
            "gate bias": "gate_bias",
            "moving E[x] per mode": "moving_mean",
            "moving E[x^2] per mode": SecondMoment("moving_variance"),
        },
    )


ADAPTERS = {
    "SwitchableNormalization": switchable,
    "SparseSwitchableNormalization": sparse_switchable,
    "BatchInstanceNormalization": batch_instance,
    "AdaptiveLayerInstanceNormalization": layer_instance,
    "LayerInstanceNormalization": layer_instance,
    "TaskNormalization": task,
    "InstanceBatchNormalization": instance_batch,
    "BatchChannelNormalization": batch_channel,
    "ModeNormalization": mode,
}
