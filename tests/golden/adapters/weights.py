"""Weight parametrizations: arguments, scale and state of each method."""

import keras
import numpy as np

import keras_norm as kn
from golden.weight_layers import StoredKernel
from golden.weights import WeightPlan

PLACES = {"outside": "outside", "inside": "inside"}
SCALES = ("g", "scale", "gain")


def scale_of(row):
    """Name of the array that is a scale of each neuron, or None."""
    for name, role in row.parameters.items():
        if role.split(" ")[0] in SCALES:
            return name
    return None


def epsilon_of(row):
    """The two arguments of the epsilon that acts."""
    place = PLACES.get(row.epsilon_place, "clamp")
    return {"epsilon": row.epsilon, "epsilon_place": place}


def axis_of(row):
    """`axis` of a program that names the axis of its kernel in `dim`."""
    if "dim" not in row.config:
        return {}
    dim = row.config["dim"]
    return {"axis": () if dim is None else StoredKernel(row).axis(dim)}


def with_scale(row):
    """Is there a scale?"""
    return {"scale": scale_of(row) is not None}


def weight_normalization(row):
    arguments = {**epsilon_of(row), **axis_of(row)}
    return WeightPlan(arguments, scale_of(row))


def centered_weight_normalization(row):
    return WeightPlan({**epsilon_of(row), **with_scale(row)}, scale_of(row))


def weight_standardization(row):
    arguments = {
        **epsilon_of(row),
        **with_scale(row),
        "unbiased": bool(row.unbiased),
    }
    return WeightPlan(arguments, scale_of(row))


def scaled_weight_standardization(row):
    arguments = {
        **epsilon_of(row),
        **with_scale(row),
        "gamma": row.config["gamma"],
    }
    return WeightPlan(arguments, scale_of(row))


def weight_centralization(row):
    return WeightPlan(with_scale(row), scale_of(row))


def divisor(run, w):
    """What the effective kernel w is the kernel divided by."""
    v = array(run.kernel.value)
    return np.sum(v * v) / np.sum(v * array(w))


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def spectral_normalization(row):
    """Programs that keep the right vector too start from it."""
    config = row.config
    steps = config.get("n_power_iterations", config.get("num_itrs", 1))
    both = "state0_v" in row.state
    arguments = {
        "epsilon": row.epsilon,
        "warmup_iterations": 0,
        # Theirs: u from v, all steps but one, then half a step.
        "power_iterations": max(steps - 1, 1) if both else steps,
        **axis_of(row),
    }

    def start(run):
        if not both:
            return {"vector_u": run.array("state0_u")}
        v = run.stored.rows(run.array("state0_v"))
        u = array(run.matrix) @ v
        return {"vector_u": u / np.linalg.norm(u)}

    def right_vector(run):
        u = run.wrapper.vector_u[0]
        v = kn.ops.power_iteration(run.matrix, u, 0)[2]
        return run.stored.stored_rows(array(v))

    def sigma(run):
        """What the training call divided by."""
        run.set()
        (w,) = run.wrapper.effective_kernels(training=True).values()
        return divisor(run, w)

    def true_sigma(run):
        """What many training calls end with."""
        for _ in range(200):
            (w,) = run.wrapper.effective_kernels(training=True).values()
        return divisor(run, w)

    return WeightPlan(
        arguments,
        start=start,
        before=int(both and steps > 1),
        training=not both,
        probes={
            "state_u": lambda run: array(run.wrapper.vector_u),
            "state_v": right_vector,
            "state_sv": sigma,
            "sigma_true": true_sigma,
        },
    )


def row_groups(row):
    """Groups of consecutive outputs."""
    config = row.config
    if "norm_channels" in config:
        return {"group_size": config["norm_channels"]}
    return {"groups": config.get("norm_groups", 1)}


def orthogonal_weight_normalization(row):
    arguments = {
        "epsilon": row.epsilon,
        **row_groups(row),
        **with_scale(row),
    }
    return WeightPlan(arguments, scale_of(row))


def newton_orthogonalization(row):
    config = row.config
    arguments = {
        "iterations": config["T"],
        "epsilon": row.epsilon,
        "mode": config["mode"],
        **row_groups(row),
        **with_scale(row),
    }

    def singular_values(run):
        m = run.kernel.matrices(run.unscaled())[0]
        groups = config.get("norm_groups", 1)
        m = np.reshape(array(m), (groups, -1, m.shape[-1]))
        return np.linalg.svd(m, compute_uv=False)

    probes = {"sv": singular_values}
    return WeightPlan(arguments, scale_of(row), probes=probes)


def orthogonal_parametrization(row):
    names = {"matrix_exp": "matrix_exponential"}
    method = row.config["map"]
    trivialize = row.config["use_trivialization"]
    arguments = {
        "method": names.get(method, method),
        "trivialize": trivialize,
    }

    def start(run):
        return {"base": run.array("state_base")} if trivialize else {}

    return WeightPlan(arguments, start=start)


ADAPTERS = {
    "WeightNormalization": weight_normalization,
    "CenteredWeightNormalization": centered_weight_normalization,
    "WeightStandardization": weight_standardization,
    "ScaledWeightStandardization": scaled_weight_standardization,
    "WeightCentralization": weight_centralization,
    "SpectralNormalization": spectral_normalization,
    "OrthogonalWeightNormalization": orthogonal_weight_normalization,
    "NewtonOrthogonalization": newton_orthogonalization,
    "OrthogonalParametrization": orthogonal_parametrization,
}
