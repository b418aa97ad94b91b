"""Constraints in `fit`: at the right updates, compiled, saved and resumed.

A step is one call of `fit` with one batch, so that the kernel can be looked at
after each. The model is linear without bias, its training in NumPy therefore
a few lines.
"""

import keras
import numpy as np
import pytest
from keras import layers

import keras_norm as kn
from constraints import formulas

STEPS = 7
RATE = 0.1
rng = np.random.default_rng(0)
X = rng.normal(size=(8, 4)).astype("float32")
Y = rng.normal(size=(8, 3)).astype("float32")
START = rng.normal(size=(4, 3)).astype("float32")
# PyTorch compiles a training step in half a minute.
LONG = [pytest.mark.all] if keras.backend.backend() == "torch" else []
JIT = [
    pytest.param(False, id="plain"),
    pytest.param(True, id="jit", marks=[pytest.mark.compile, *LONG]),
]


def linear(constraint, optimizer, jit=False, dtype=None):
    """A compiled model of one kernel that starts from START."""
    layer = layers.Dense(
        3, use_bias=False, kernel_constraint=constraint, dtype=dtype
    )
    model = keras.Sequential([keras.Input((4,)), layer])
    layer.kernel.assign(START)
    # Keras wraps no optimizer that it is given.
    model.compile(optimizer, "mse", jit_compile=jit, auto_scale_loss=False)
    return model


def kernels(model, steps):
    """The kernel after each of so many steps."""
    found = []
    for _ in range(steps):
        model.fit(X, Y, batch_size=8, verbose=0)
        kernel = model.trainable_variables[0]
        found.append(np.array(keras.ops.convert_to_numpy(kernel)))
    return found


def expected(formula, every, steps, accumulated=1):
    """The same by gradient descent in NumPy.

    The gradients of several steps at the same kernel are all alike.
    """
    w, found = START.astype("float64"), []
    for step in range(1, steps + 1):
        if step % accumulated == 0:
            w = w - RATE * 2 / Y.size * X.T @ (X @ w - Y)
            if step % (accumulated * every) == 0:
                w = formula(w.T).T
        found.append(w)
    return found


def assert_same(found, wanted):
    # Seven steps and projections in float32.
    for step, (f, w) in enumerate(zip(found, wanted, strict=True)):
        assert np.abs(f - w).max() <= 1e-5, step


def is_unit(kernel):
    return bool((np.abs(np.linalg.norm(kernel, axis=0) - 1) <= 1e-5).all())


PROJECTIONS = {
    "unit": (kn.constraints.UnitNorm(every=3), formulas.unit),
    "centred": (
        kn.constraints.CenteredUnitNorm(every=3),
        formulas.centred_unit,
    ),
    "orthogonal": (kn.constraints.Orthogonal(every=3), formulas.polar),
    "spectral": (
        kn.constraints.SpectralNorm(0.3, every=3),
        lambda m: formulas.bounded(m, 0.3),
    ),
}


@pytest.mark.parametrize("jit", JIT)
@pytest.mark.parametrize("name", PROJECTIONS)
def test_at_every_third_update(name, jit):
    constraint, formula = PROJECTIONS[name]
    model = linear(constraint, keras.optimizers.SGD(RATE), jit)
    found = kernels(model, STEPS)
    assert_same(found, expected(formula, 3, STEPS))
    # The formula would notice: the steps between leave the set.
    assert np.abs(found[3] - formula(found[3].T).T).max() > 1e-3


def test_at_every_update():
    model = linear(kn.constraints.UnitNorm(), keras.optimizers.SGD(RATE))
    assert_same(kernels(model, 3), expected(formulas.unit, 1, 3))


@pytest.mark.parametrize("jit", JIT)
def test_several_batches_in_one_epoch(jit):
    model = linear(
        kn.constraints.UnitNorm(every=3), keras.optimizers.SGD(RATE), jit
    )
    repeated = [np.tile(a, (5, 1)) for a in (X, Y)]
    model.fit(*repeated, batch_size=8, shuffle=False, verbose=0)
    found = kernels(model, 2)
    assert_same(found, expected(formulas.unit, 3, STEPS)[-2:])


def test_resumed_training_goes_on_counting(tmp_path):
    def new():
        optimizer = keras.optimizers.SGD(RATE, momentum=0.9)
        return linear(kn.constraints.UnitNorm(every=3), optimizer)

    whole = kernels(new(), STEPS)
    assert [is_unit(k) for k in whole] == [n % 3 == 0 for n in range(1, 8)]
    model = new()
    parts = kernels(model, 4)
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    constraint = model.layers[0].kernel_constraint
    assert (
        constraint.get_config()
        == new().layers[0].get_config()["kernel_constraint"]["config"]
    )
    parts += kernels(model, STEPS - 4)
    assert_same(parts, whole)


@pytest.mark.parametrize("jit", JIT)
def test_accumulated_gradients_are_one_update(jit):
    optimizer = keras.optimizers.SGD(RATE, gradient_accumulation_steps=2)
    model = linear(kn.constraints.UnitNorm(every=2), optimizer, jit)
    assert_same(kernels(model, 8), expected(formulas.unit, 2, 8, 2))


@pytest.mark.parametrize("jit", JIT)
def test_skipped_steps_do_not_count(jit):
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(RATE), initial_scale=2.0**18
    )
    constraint = kn.constraints.UnitNorm(every=3)
    model = linear(constraint, optimizer, jit, "mixed_float16")
    counts, found = [], []
    for _ in range(12):
        found += kernels(model, 1)
        counts.append(int(model.optimizer.iterations))
    # Some were skipped, and more than one cycle was not.
    assert counts[0] == 0 and counts[-1] >= 6
    for count, kernel in zip(counts, found, strict=True):
        assert is_unit(kernel) == (count > 0 and count % 3 == 0)


def test_by_hand_it_always_projects():
    constraint = kn.constraints.UnitNorm(every=1000)
    found = keras.ops.convert_to_numpy(constraint(keras.Variable(START)))
    assert is_unit(found)


def test_the_nearest_optimizer_counts():
    # Of one optimizer that runs another, the one that makes the step.
    model = linear(kn.constraints.UnitNorm(every=2), keras.optimizers.SGD(RATE))
    kernel = model.trainable_variables[0]
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build([kernel])
    optimizer.iterations.assign(9)

    class Outer(keras.optimizers.SGD):
        def apply(self, grads, trainable_variables=None):
            optimizer.apply(grads, trainable_variables)

    outer = Outer(RATE)
    outer.build([kernel])
    outer.apply([keras.ops.zeros((4, 3))], [kernel])
    assert is_unit(keras.ops.convert_to_numpy(kernel))
    outer.apply([keras.ops.ones((4, 3))], [kernel])
    assert not is_unit(keras.ops.convert_to_numpy(kernel))


def network():
    """A kernel of each kind."""
    c = kn.constraints
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(
                9, 4, embeddings_constraint=c.UnitNorm("embedding")
            ),
            layers.Reshape((3, 2, 4)),
            layers.Conv2D(6, 2, kernel_constraint=c.SpectralNorm(0.5)),
            layers.DepthwiseConv2D(
                (2, 1),
                depthwise_constraint=c.CenteredUnitNorm(
                    "depthwise_convolution"
                ),
            ),
            layers.Conv2DTranspose(
                5,
                2,
                kernel_constraint=c.Orthogonal(axis="transposed_convolution"),
            ),
            layers.Flatten(),
            layers.Dense(3, kernel_constraint=c.Orthogonal("qr", every=2)),
        ]
    )


def violations(model):
    """How far each kernel is from its set, in the order of the layers."""
    checks = [
        ((0,), formulas.unit),
        ((3,), lambda m: formulas.bounded(m, 0.5)),
        ((2, 3), formulas.centred_unit),
        ((2,), formulas.polar),
        ((1,), formulas.gram_schmidt),
    ]
    held = [w for w in model.trainable_variables if "bias" not in w.path]
    found = []
    for w, (axes, formula) in zip(held, checks, strict=True):
        m = formulas.matrix(keras.ops.convert_to_numpy(w), axes)
        found.append(np.abs(formula(m.astype("float64")) - m).max())
    return np.array(found)


@pytest.mark.parametrize("jit", JIT)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_all_kinds_of_kernels(jit, dtype, tmp_path):
    keras.config.set_dtype_policy(dtype)
    model = network()
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit)
    assert violations(model).min() > 1e-3
    x = rng.integers(0, 9, (16, 6))
    y = rng.normal(size=(16, 3)).astype("float32")
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    assert violations(model).max() <= 1e-5
    before = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(model.predict(x, verbose=0), before)
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    assert violations(model).max() <= 1e-5
    assert np.abs(model.predict(x, verbose=0) - before).max() > 1e-4


def test_the_network_does_not_change_by_projection():
    # Projection-based weight normalization: batch normalization follows.
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(6, use_bias=False),
            layers.BatchNormalization(epsilon=0.0),
            layers.Dense(2),
        ]
    )
    x = rng.normal(size=(32, 5)).astype("float32")
    before = keras.ops.convert_to_numpy(model(x, training=True))
    kernel = model.layers[0].kernel
    kernel.assign(kn.constraints.UnitNorm()(kernel))
    after = keras.ops.convert_to_numpy(model(x, training=True))
    assert np.abs(after - before).max() <= 1e-5
