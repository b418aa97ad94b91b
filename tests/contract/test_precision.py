"""Half precision, float64, integers: the value of float32, rounded once."""

import keras
import numpy as np
import pytest

from contract.calls import answer
from contract.method import numpy
from contract.method import outputs
from contract.method import own_weights
from contract.method import values
from contract.methods import METHODS
from contract.methods import rows
from contract.tolerances import largest
from contract.tolerances import stored

HALVES = ("float16", "bfloat16")


def run(layer, method, inputs, training=True):
    return answer(layer, method.given(inputs), training=training)


def half_or_same(array, dtype):
    if np.asarray(array).dtype.kind != "f":
        return array
    return keras.ops.cast(keras.ops.convert_to_tensor(array), dtype)


def rounded(array, dtype):
    """A float32 array with the values that `dtype` can hold."""
    return numpy(half_or_same(array, dtype)).astype("float32")


def check_value(method, y, y32, dtype):
    """The outputs are those of float32, stored in `dtype`."""
    y = y if isinstance(y, (list, tuple)) else [y]
    for a, b in zip(y, outputs(y32), strict=True):
        assert keras.backend.standardize_dtype(a.dtype) == dtype
        # Beyond the range of float16 a result is infinite, as it must be.
        b = rounded(b, dtype)
        a = numpy(a).astype("float32")
        finite = np.isfinite(b)
        np.testing.assert_array_equal(np.isfinite(a), finite)
        np.testing.assert_array_equal(a[~finite], b[~finite])
        np.testing.assert_allclose(
            a[finite], b[finite], rtol=0, atol=stored(largest(b), dtype)
        )


@pytest.mark.parametrize("method", rows(METHODS))
def test_mixed(method):
    inputs = method.inputs()
    same = method.shared()
    expected = run(same, method, inputs)
    inferred = run(same, method, inputs, training=False)
    for dtype in HALVES:
        layer = method.built(dtype=f"mixed_{dtype}")
        check_value(method, run(layer, method, inputs), expected, dtype)
        for a, b in zip(layer.weights, same.weights, strict=True):
            assert a.dtype in ("float32", "int32")
            np.testing.assert_array_equal(numpy(a), numpy(b))
        y = run(layer, method, inputs, training=False)
        check_value(method, y, inferred, dtype)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("method", rows(METHODS))
def test_half_input(method, dtype):
    """Weights and inputs in half precision; so is what mixed layers get."""
    layer, same = method.built(dtype=dtype), method.shared()
    for variable in own_weights(layer):
        # Statistics are kept in float32 all the same.
        state = (*method.held, *method.state)
        backward = variable.overwrite_with_gradient
        held = backward or variable.name in state
        kept = "float32" if held else dtype
        assert variable.dtype in (kept, "int32"), variable.path
    for a, b in zip(same.weights, layer.weights, strict=True):
        a.assign(numpy(b).astype(a.dtype))
    halves = [half_or_same(a, dtype) for a in method.inputs()]
    floats = [numpy(a) for a in halves]
    floats = [a.astype("float32") if a.dtype.kind == "f" else a for a in floats]
    y = run(layer, method, halves)
    check_value(method, y, run(same, method, floats), dtype)


# JAX has no float64 unless it is started with it.
WIDE = METHODS if keras.backend.backend() != "jax" else []


@pytest.mark.parametrize("method", rows(WIDE))
def test_float64(method):
    # The backends but TensorFlow compute float64 in float32 here and there.
    exact = keras.backend.backend() == "tensorflow"
    layer, same = method.built(dtype="float64"), method.shared()
    weights, state = values(layer)
    inputs = [
        a.astype("float64") if a.dtype.kind == "f" else a
        for a in method.inputs()
    ]
    y = run(layer, method, inputs)
    for a, b in zip(
        y if isinstance(y, (list, tuple)) else [y],
        outputs(run(same, method, method.inputs())),
        strict=True,
    ):
        assert keras.backend.standardize_dtype(a.dtype) == "float64"
        np.testing.assert_allclose(numpy(a), b, rtol=0, atol=1e-4)
    if exact and method.reference():
        oracle, config = method.reference()
        expected, _ = oracle(inputs, config, weights, state, True)
        several = isinstance(expected, tuple)
        for a, b in zip(
            outputs(y), expected if several else [expected], strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", rows(METHODS))
def test_beyond_the_range_of_half(method):
    noise, *others = method.inputs()
    # float32 under mixed_float16, then float16 itself.
    for shift, dtype in ((7e4, "float32"), (6e4, "float16")):
        x = (100 * noise + shift).astype(dtype)
        layer, same = method.built(dtype="mixed_float16"), method.shared()
        y = run(layer, method, [x, *others])
        wide = run(same, method, [x.astype("float32"), *others])
        for t in outputs(wide):
            assert np.all(np.isfinite(t))
        check_value(method, y, wide, "float16")
        for variable in layer.weights:
            assert np.all(np.isfinite(numpy(variable)))


@pytest.mark.parametrize("method", rows(METHODS))
def test_integers_are_converted(method):
    rng = np.random.default_rng(0)
    x = rng.integers(-20, 20, method.shape()).astype("int32")
    others = method.inputs()[1:]
    y = outputs(run(method.shared(), method, [x, *others]))
    floats = [x.astype("float32"), *others]
    expected = outputs(run(method.shared(), method, floats))
    for a, b in zip(y, expected, strict=True):
        assert a.dtype == "float32"
        np.testing.assert_array_equal(a, b)
