"""The map of every method on every kind of kernel, and its gradient.

Values against formulas in NumPy, gradients against central differences of
these along random directions.
"""

import keras
import numpy as np
import pytest

import keras_norm as kn
from functions import STEP
from golden.tolerance import error
from golden.tolerance import tolerance
from layers.weights.effective import LABELS
from layers.weights.effective import array
from layers.weights.effective import arrays
from layers.weights.effective import effective
from layers.weights.kinds import KINDS
from oracles import weights as oracle

# Only TensorFlow keeps float64 in all of keras.ops.
DTYPES = ["float32"]
if keras.backend.backend() == "tensorflow":
    DTYPES.append("float64")

# How accurate a method can be, as in golden.tolerance.
ACCURACY = {
    "NewtonOrthogonalization": "whiten",
    "OrthogonalParametrization": "whiten",
}
GROUPS = {"grouped": 2, "depthwise": 4}
# Methods of single neurons differ by what they do to one: all kinds for one of
# them.
SOME = ["conv2d", "transposed", "depthwise", "einsum of blocks", "embedding"]
# (method, options, kinds or None for all); options that the formulas take go
# to both.
CASES = [
    ("WeightNormalization", {}, None),
    (
        "WeightNormalization",
        {"epsilon": 0.1, "epsilon_place": "inside"},
        ["conv2d"],
    ),
    (
        "WeightNormalization",
        {"epsilon": 0.1, "epsilon_place": "outside"},
        ["dense"],
    ),
    ("WeightNormalization", {"epsilon": 1.2}, ["dense"]),
    ("CenteredWeightNormalization", {}, SOME),
    (
        "CenteredWeightNormalization",
        {"epsilon": 0.5, "epsilon_place": "clamp"},
        ["dense"],
    ),
    (
        "CenteredWeightNormalization",
        {"epsilon": 0.5, "epsilon_place": "inside"},
        ["dense"],
    ),
    ("WeightStandardization", {}, SOME),
    ("WeightStandardization", {"unbiased": True, "scale": True}, ["conv2d"]),
    (
        "WeightStandardization",
        {"epsilon": 0.1, "epsilon_place": "outside", "unbiased": True},
        ["dense"],
    ),
    (
        "WeightStandardization",
        {"epsilon": 0.15, "epsilon_place": "clamp"},
        ["dense"],
    ),
    ("ScaledWeightStandardization", {"gamma": 1.7}, SOME),
    (
        "ScaledWeightStandardization",
        {"epsilon": 0.1, "epsilon_place": "inside"},
        ["conv2d"],
    ),
    (
        "ScaledWeightStandardization",
        {"epsilon": 0.1, "epsilon_place": "outside"},
        ["dense"],
    ),
    ("ScaledWeightStandardization", {"epsilon": 1.2}, ["dense"]),
    ("WeightCentralization", {}, SOME),
    ("WeightCentralization", {"scale": True}, ["dense"]),
    ("OrthogonalWeightNormalization", {}, None),
    ("OrthogonalWeightNormalization", {"group_size": 2}, ["dense", "lstm"]),
    ("OrthogonalWeightNormalization", {"center": False}, ["depthwise"]),
    (
        "OrthogonalWeightNormalization",
        {"per_conv_group": True, "group_size": 2},
        ["grouped", "depthwise"],
    ),
    ("OrthogonalWeightNormalization", {"epsilon": 0.3}, ["dense"]),
    ("NewtonOrthogonalization", {}, None),
    ("NewtonOrthogonalization", {"iterations": 0}, ["dense"]),
    ("NewtonOrthogonalization", {"iterations": 1, "epsilon": 0.1}, ["dense"]),
    ("NewtonOrthogonalization", {"group_size": 4}, ["dense", "embedding"]),
    ("NewtonOrthogonalization", {"mode": "column"}, ["dense"]),
    ("NewtonOrthogonalization", {"center": False}, ["conv2d", "lstm"]),
    ("NewtonOrthogonalization", {"split_gates": False}, ["lstm"]),
    ("NewtonOrthogonalization", {"per_conv_group": True}, ["depthwise"]),
    ("OrthogonalParametrization", {}, None),
    (
        "OrthogonalParametrization",
        {"method": "matrix_exponential"},
        ["dense", "conv2d", "embedding", "lstm"],
    ),
    (
        "OrthogonalParametrization",
        {"method": "householder"},
        ["dense", "conv2d", "embedding", "lstm"],
    ),
    ("OrthogonalParametrization", {"trivialize": False}, ["dense"]),
    ("OrthogonalParametrization", {"per_conv_group": True}, ["grouped"]),
    ("OrthogonalParametrization", {"split_gates": False}, ["lstm"]),
]
# Margin for the products around an inverse root, and what central differences
# are off by.
LOSS, DIFFERENCES = 30.0, 1e-6
DIRECTIONS = 8
# What the formulas do not take.
OURS = ("scale", "split_gates", "per_conv_group", "trivialize")


def cases():
    found = []
    for method, options, kinds in CASES:
        for kind in kinds or LABELS:
            text = ",".join(f"{k}={v}" for k, v in options.items())
            found.append(
                pytest.param(
                    method, options, kind, id=f"{method}-{kind}-{text}"
                )
            )
    return found


def layer_of(kind, dtype):
    """A built layer with a kernel that is not special."""
    plain = KINDS[kind][0]()
    config = plain.get_config() | {"dtype": dtype}
    layer = type(plain).from_config(config)
    layer.build((None, *KINDS[kind][1]))
    random = np.random.default_rng(1)
    layer.set_weights(
        [0.4 * random.standard_normal(w.shape) for w in layer.get_weights()]
    )
    return layer


def formula(wrapper, path, labels, parts):
    """The map of one kernel as a function of v and g."""
    method = type(wrapper).__name__
    config = {k: v for k, v in wrapper.options.items() if k not in OURS}
    bases = wrapper.bases.get(path)

    def one(v, g):
        if bases is None:
            w = oracle.effective(method, v, labels, parts, **config)
        else:
            given = iter(bases)
            w = oracle.by_matrix(
                v,
                labels,
                lambda m: oracle.orthogonal_parametrization(
                    m, base=next(given), **config
                ),
                parts,
            )
        return oracle.scaled(w, labels, g) if g is not None else w

    return one


def unit_of(random, shape):
    """A random direction."""
    direction = random.standard_normal(shape)
    return direction / np.linalg.norm(direction)


def condition(v, labels, parts, group_size=None, center=True, epsilon=0.0):
    """The largest condition number of a gram matrix."""
    found = []
    for block in oracle.matrices(v, labels):
        for m in np.split(block, parts):
            z = oracle.centred_rows(m, center)
            size = group_size or min(len(m), m.shape[1] - (1 if center else 0))
            for start in range(0, len(z), size):
                group = z[start : start + size]
                s = group @ group.T + epsilon * np.eye(len(group))
                found.append(np.linalg.cond(s))
    return max(found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method, options, kind", cases())
def test_effective_kernel_and_gradient(method, options, kind, dtype):
    wrapper = getattr(kn.layers, method)(
        layer_of(kind, dtype), dtype=dtype, **options
    )
    wrapper.build((None, *KINDS[kind][1]))
    random = np.random.default_rng(3)
    kernels = wrapper.kernels()
    wrapper.options, wrapper.bases = options, {}
    for kernel in kernels:
        scale = wrapper.scale_of(kernel)
        if scale is not None:
            scale.assign(random.uniform(0.5, 2, scale.shape))
        if "base" in wrapper.state_of(kernel):
            base = array(wrapper.state_of(kernel)["base"])
            wrapper.bases[kernel.path] = base.astype("float64")
            # Away from the start, where gradients are special.
            kernel.value.assign(random.standard_normal(kernel.shape))
    upstream = {k.path: random.standard_normal(k.shape) for k in kernels}
    found = effective(wrapper, upstream.values())
    for kernel in kernels:
        path, v = kernel.path, arrays(wrapper)[kernel.path]
        labels = LABELS[kind][path]
        parts = kernel.gates if options.get("split_gates", True) else 1
        if options.get("per_conv_group"):
            parts *= GROUPS[kind]
        scale = wrapper.scale_of(kernel)
        g = None if scale is None else array(scale).astype("float64")
        one = formula(wrapper, path, labels, parts)
        accuracy = ACCURACY.get(method, "standardize")
        allowed = [
            tolerance(accuracy, "float64", v.size, dtype, gradient)
            for gradient in (False, True)
        ]
        if method == "OrthogonalWeightNormalization":
            # Eigenvalues carry the rounding of the largest of them.
            config = {k: v for k, v in options.items() if k not in OURS}
            worst = condition(v, labels, parts, **config)
            unit = LOSS * float(np.finfo(dtype).eps)
            allowed = [unit * worst, unit * worst**1.5 + DIFFERENCES]

        assert error(found.kernels[path], one(v, g)) <= allowed[0]
        slopes = [found.kernel_gradients[path]]
        if g is not None:
            slopes.append(found.scale_gradients[path])
        length = sum(np.sum(np.square(slope)) for slope in slopes) ** 0.5
        for _ in range(DIRECTIONS):
            step = [unit_of(random, slope.shape) for slope in slopes]
            ends = [
                one(v + s * step[0], g if g is None else g + s * step[1])
                for s in (STEP, -STEP)
            ]
            wanted = np.sum((ends[0] - ends[1]) * upstream[path]) / (2 * STEP)
            given = sum(map(np.sum, map(np.multiply, slopes, step)))
            assert abs(given - wanted) <= allowed[1] * length
