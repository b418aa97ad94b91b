"""Constraints as functions: against the formulas, for all kinds of kernels."""

import json

import keras
import numpy as np
import pytest

import keras_norm as kn
from constraints import formulas

# name: (constraint of `axis` and more arguments, formula on a matrix)
PROJECTIONS = {
    "unit": (kn.constraints.UnitNorm, formulas.unit),
    "centred": (kn.constraints.CenteredUnitNorm, formulas.centred_unit),
    "polar": (
        lambda **k: kn.constraints.Orthogonal("polar", **k),
        formulas.polar,
    ),
    "qr": (
        lambda **k: kn.constraints.Orthogonal("qr", **k),
        formulas.gram_schmidt,
    ),
    "spectral": (kn.constraints.SpectralNorm, formulas.bounded),
}
NAMES = list(PROJECTIONS)
ORTHOGONAL = ("polar", "qr")
FLOAT64 = keras.backend.backend() == "tensorflow"
# Of a length or an angle; spectral: the root is up to 2e-6 too large.
ERROR = {"float32": 1e-6, "float64": 1e-13}
SPECTRAL_ERROR = 4e-6


def projected(constraint, w, dtype="float32"):
    """The constraint of a variable."""
    variable = keras.Variable(w, dtype=dtype)
    found = constraint(variable)
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    found = keras.ops.convert_to_numpy(keras.ops.cast(found, "float32"))
    if dtype == "float64":
        found = keras.ops.convert_to_numpy(constraint(variable))
    assert found.shape == w.shape
    return found.astype("float64")


@pytest.mark.parametrize("dtype", ["float32", "float64"][: 1 + FLOAT64])
@pytest.mark.parametrize("kind", formulas.KERNELS)
@pytest.mark.parametrize("name", NAMES)
def test_formula(name, kind, dtype):
    make, formula = PROJECTIONS[name]
    w, axis, axes = formulas.kernel(kind)
    w = w.astype("float32").astype("float64")
    m = formulas.matrix(w, axes)
    wanted = formulas.of_matrix(formula(m), w.shape, axes)
    found = projected(make(axis=axis), w, dtype)
    # The factors of a decomposition are as far off as the matrix is from
    # losing rank.
    allowed = ERROR[dtype] * np.sqrt(m.shape[1])
    allowed *= formulas.condition(m) if name in ORTHOGONAL else 1
    if name == "spectral":
        allowed += SPECTRAL_ERROR
    assert np.abs(found - wanted).max() <= allowed * np.abs(wanted).max()


@pytest.mark.parametrize("kind", ["dense", "more_outputs", "convolution"])
@pytest.mark.parametrize("name", NAMES)
def test_twice_is_once(name, kind):
    make, _ = PROJECTIONS[name]
    w, axis, _ = formulas.kernel(kind)
    once = projected(make(axis=axis), w)
    twice = projected(make(axis=axis), once)
    assert np.abs(twice - once).max() <= 2e-6 * np.abs(once).max()
    assert np.abs(once - w).max() > 0.1


@pytest.mark.parametrize("name", ["unit", "centred", "polar"])
def test_the_nearest_point_is_taken(name):
    make, formula = PROJECTIONS[name]
    w, _, axes = formulas.kernel("dense")
    found = formulas.matrix(projected(make(), w), axes)
    w = formulas.matrix(w, axes)
    nearest = np.linalg.norm(w - found)
    rng = np.random.default_rng(1)
    for size in 1e-3, 1e-2, 0.1, 1.0, 10.0:
        for _ in range(20):
            other = formula(found + rng.normal(0, size, found.shape))
            assert np.linalg.norm(w - other) > nearest


def test_the_length_and_the_bound_are_arguments():
    w, _, axes = formulas.kernel("convolution")
    for cls in (kn.constraints.UnitNorm, kn.constraints.CenteredUnitNorm):
        found = formulas.matrix(projected(cls(value=2.5), w), axes)
        lengths = np.linalg.norm(found, axis=1)
        assert np.abs(lengths - 2.5).max() <= 5e-6
    found = projected(kn.constraints.SpectralNorm(0.3), w)
    largest = np.linalg.norm(formulas.matrix(found, axes), 2)
    assert abs(largest / 0.3 - 1) <= SPECTRAL_ERROR


def test_a_kernel_within_the_bound_stays():
    w = formulas.kernel("dense")[0].astype("float32").astype("float64")
    largest = np.linalg.norm(w, 2)
    found = projected(kn.constraints.SpectralNorm(1.001 * largest), w)
    assert np.array_equal(found, w)
    # A spectrum without a gap, where a power iteration has nothing to find.
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0]
    found = projected(kn.constraints.SpectralNorm(), q)
    assert np.abs(np.linalg.svd(found)[1] - 1).max() <= SPECTRAL_ERROR


def test_the_largest_value_is_found_where_the_second_is_near():
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.normal(size=(32, 32)))[0]
    v = np.linalg.qr(rng.normal(size=(48, 32)))[0]
    values = np.array([1.0, 1 - 1e-6, *np.linspace(0.999, 0.0, 30)])
    w = 7 * (u * values) @ v.T
    found = projected(kn.constraints.SpectralNorm(), w)
    assert np.abs(found - w / 7).max() <= SPECTRAL_ERROR


@pytest.mark.parametrize("dtype, unit", [("float16", 1e-3), ("bfloat16", 8e-3)])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_rounded_once(name, dtype, unit):
    make, formula = PROJECTIONS[name]
    w, _, axes = formulas.kernel("convolution")
    rounded = keras.ops.convert_to_tensor(w, dtype)
    rounded = keras.ops.cast(rounded, "float32")
    w = keras.ops.convert_to_numpy(rounded).astype("float64")
    wanted = formula(formulas.matrix(w, axes))
    found = formulas.matrix(projected(make(), w, dtype), axes)
    # Half a spacing of the largest entries, and what float32 adds.
    allowed = 0.5 * unit + 1e-5 * formulas.condition(wanted)
    assert np.abs(found - wanted).max() <= allowed * np.abs(wanted).max()


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_zeros_are_finite_and_stay(name, shape):
    make, _ = PROJECTIONS[name]
    w = np.zeros(shape)
    once = projected(make(), w)
    assert np.isfinite(once).all()
    assert np.abs(projected(make(), once) - once).max() <= 1e-6
    if name not in ORTHOGONAL:
        assert not once.any()


@pytest.mark.parametrize("name", ORTHOGONAL)
@pytest.mark.parametrize("case", ["zeros", "repeated", "lost", "tiny", "huge"])
def test_orthonormal_whatever_the_kernel(name, case):
    w = formulas.kernel("dense")[0]
    if case == "repeated":
        w[:, 3] = w[:, 1]
    if case == "lost":
        w[:, 2] = 0
    w *= {"zeros": 0.0, "tiny": 1e-20, "huge": 1e18}.get(case, 1.0)
    once = projected(PROJECTIONS[name][0](), w)
    assert np.abs(once.T @ once - np.eye(5)).max() <= 3e-6
    twice = projected(PROJECTIONS[name][0](), once)
    assert np.abs(once - twice).max() <= 3e-6


def test_equal_weights_are_centred_to_zero():
    w = formulas.kernel("dense")[0]
    w[:, 0] = 0.1
    w[:, 1] += 1e4
    constraint = kn.constraints.CenteredUnitNorm()
    w = w.astype("float32").astype("float64")
    once = projected(constraint, w)
    assert not once[:, 0].any()
    wanted = formulas.centred_unit(w.T[1:]).T
    assert np.abs(once[:, 1:] - wanted).max() <= 1e-5
    assert np.abs(once.mean(0)).max() <= 1e-7
    assert np.abs(projected(constraint, once) - once).max() <= 1e-6


ERRORS = {
    "unknown axis": (lambda c: c(axis="depthwise"), "depthwise_convolution"),
    "float axis": (lambda c: c(axis=0.5), "`axis` must be one integer"),
    "every": (lambda c: c(every=0), "`every` must be an integer of at least"),
    "bias": (lambda c: c()(np.ones(4, "float32")), "not for biases"),
    "scalar": (lambda c: c()(np.float32(1)), "`axis` must name distinct axes"),
    "all axes": (
        lambda c: c(axis=(0, 1))(np.ones((2, 3), "float32")),
        "besides the output axes",
    ),
    "outside": (
        lambda c: c(axis=2)(np.ones((2, 3), "float32")),
        "`axis` must name distinct axes",
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("cls", kn.constraints.__all__)
def test_errors(cls, case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        call(getattr(kn.constraints, cls))


@pytest.mark.once
@pytest.mark.parametrize(
    "call, message",
    [
        (lambda c: c.UnitNorm(value=0), "`value` must be positive"),
        (lambda c: c.SpectralNorm(-1.0), "`max_value` must be positive"),
        (lambda c: c.Orthogonal("pola"), "Did you mean 'polar'"),
        (
            lambda c: c.CenteredUnitNorm()(np.ones((1, 3), "float32")),
            "at least 2 weights",
        ),
    ],
)
def test_errors_of_one(call, message):
    with pytest.raises(ValueError, match=message):
        call(kn.constraints)


@pytest.mark.once
@pytest.mark.parametrize(
    "constraint",
    [
        kn.constraints.UnitNorm("embedding", 3, 2.0, 1e-6),
        kn.constraints.CenteredUnitNorm((-2, -1), value=0.5),
        kn.constraints.Orthogonal("qr", axis=0, every=10),
        kn.constraints.SpectralNorm(3.0, None, 2),
    ],
)
def test_config(constraint):
    config = json.loads(json.dumps(keras.constraints.serialize(constraint)))
    assert config["registered_name"].startswith("keras_norm>")
    found = keras.constraints.get(config)
    assert type(found) is type(constraint)
    assert found.get_config() == constraint.get_config()
    arguments = set(type(constraint)().get_config())
    assert arguments == set(found.get_config())
    copy = type(constraint).from_config(constraint.get_config())
    assert copy.get_config() == constraint.get_config()
