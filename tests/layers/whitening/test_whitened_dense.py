"""Whitened dense layers: what an update keeps and what it changes."""

import keras
import numpy as np
import pytest

from contract.tolerances import close
from gradients import gradients
from gradients import inference
from keras_norm.layers import WhitenedDense

BACKEND = keras.backend.backend()
JAX = BACKEND == "jax"
KINDS = [(p, w) for p in ("pre", "post") for w in ("pca", "zca")]
STATE = ("mean", "whitening_matrix", "compensation", "kernel_shift")


def random(*shape, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(shift, 1.0, shape)
    return values.astype("float32")


def array(tensor):
    return np.array(keras.ops.convert_to_numpy(tensor))


def values(layer):
    return {w.name: array(w).astype("float64") for w in layer.weights}


def inputs(case="usual", rows=200):
    x = random(rows, 6) @ random(6, 6, seed=1)
    if case == "fewer rows than features":
        x = x[:4]
    if case == "constant feature":
        x[:, 2] = 3.0
    if case == "all constant":
        x = np.full_like(x, 3.0)
    if case == "duplicated feature":
        x[:, 4] = x[:, 1]
    if case == "condition 1e6":
        mix = np.linalg.qr(random(6, 6, seed=3))[0]
        x = (random(rows, 6) @ mix * 10.0 ** np.linspace(-3, 0, 6)) @ mix.T
    if case == "far from zero":
        x = x + 1e4
    return x.astype("float32")


CASES = [
    "usual",
    "fewer rows than features",
    "constant feature",
    "all constant",
    "duplicated feature",
    "condition 1e6",
    "far from zero",
]


@pytest.mark.parametrize("position, whitening", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_an_update_changes_no_output(case, position, whitening):
    x = inputs(case)
    layer = WhitenedDense(5, position=position, whitening=whitening)
    other = inputs(case, 300)[-7:]
    before = array(layer(other))
    close(before, other @ array(layer.kernel), scale=np.abs(x).max())
    for step in range(3):
        layer.update_whitening((1 + step) * x)
        # Relative to the largest number on the way. V is rounded and then
        # multiplied by U, row by row of equal size for "pca" in "pre" only.
        scale = max(1.0, np.abs(before).max(), np.abs(x).max())
        condition = np.linalg.cond(array(layer.whitening_matrix))
        exact = (position, whitening) == ("pre", "pca")
        allowed = 1e-5 if exact else max(1e-5, condition * 2.0**-20)
        y = array(layer(other))
        np.testing.assert_allclose(y, before, atol=allowed * scale)
    for value in values(layer).values():
        assert np.all(np.isfinite(value))


def test_an_update_with_normalization_changes_no_output():
    x = inputs()
    layer = WhitenedDense(5, batch_normalization=True, use_bias=False)
    layer(x, training=True)
    found = [array(layer(x, training=t)) for t in (True, False)]
    state = array(layer.normalization.moving_mean)
    layer.update_whitening(x)
    np.testing.assert_array_equal(array(layer.normalization.moving_mean), state)
    for t, before in zip((False, True), reversed(found), strict=True):
        again = array(layer(x, training=t))
        # Inference follows a training call that moved its averages.
        tolerance = 1e-5 if t else 0.5
        np.testing.assert_allclose(again, before, atol=tolerance)


@pytest.mark.parametrize("whitening", ["pca", "zca"])
def test_the_input_is_white_up_to_epsilon(whitening):
    x, epsilon = inputs(), 0.1
    layer = WhitenedDense(5, whitening=whitening, epsilon=epsilon)
    layer.update_whitening(x)
    at = values(layer)
    z = (x - at["mean"]) @ at["whitening_matrix"].T
    s, q = np.linalg.eigh(np.cov(x.T.astype("float64"), bias=True))
    close(z.mean(0), np.zeros(6), scale=np.abs(x).max())
    expected = np.diag((s / (s + epsilon))[::-1])
    if whitening == "zca":
        expected = q @ np.diag(s / (s + epsilon)) @ q.T
        close(at["whitening_matrix"], at["whitening_matrix"].T)
    close(z.T @ z / len(x), expected, len(x))


@pytest.mark.parametrize("whitening", ["pca", "zca"])
def test_post_whitens_the_pre_activation(whitening):
    x = inputs()
    layer = WhitenedDense(5, position="post", whitening=whitening, epsilon=1e-5)
    o = array(layer(x)).astype("float64")
    layer.update_whitening(x)
    matrix = values(layer)["whitening_matrix"]
    found = matrix @ np.cov(o.T, bias=True) @ matrix.T
    np.testing.assert_allclose(found, np.eye(5), atol=1e-3)
    # What the kernel gives is centred by its mean.
    at = values(layer)
    close(at["mean"], (x @ at["kernel"]).mean(0), scale=30.0)
    close(at["compensation"], o.mean(0), scale=30.0)


@pytest.mark.parametrize("position", ["pre", "post"])
def test_gradient_of_the_kernel_sees_the_white(position):
    x, upstream = inputs(), random(200, 5, seed=4)
    layer = WhitenedDense(5, position=position)
    layer.update_whitening(x)
    at = values(layer)
    found = gradients(layer, [x], upstream, jit=JAX)
    matrix = at["whitening_matrix"]
    if position == "pre":
        expected = ((x - at["mean"]) @ matrix.T).T @ upstream
        back = upstream @ (matrix.T @ at["kernel"]).T
    else:
        expected = x.T @ (upstream @ matrix)
        back = upstream @ (at["kernel"] @ matrix.T).T
    close(found.weights["kernel"], expected, 200)
    close(found.inputs[0], back, 200)
    close(found.weights["bias"], upstream.sum(0), 200)


def test_masked_entries_take_no_part():
    x = random(8, 5, 6)
    mask = np.arange(5) < np.array([[5, 3, 1, 4, 2, 5, 5, 0]]).T
    held = np.where(mask[..., None], x, np.float32(np.nan))
    # The whitening matrix magnifies the covariance's error by its condition.
    condition = np.linalg.cond(np.cov(x[mask].T))
    layers = [WhitenedDense(5), WhitenedDense(5)]
    for layer in layers:
        layer.build(x.shape)
    layers[1].set_weights(layers[0].get_weights())
    layers[0].update_whitening(held, mask)
    layers[1].update_whitening(x[mask])
    for name, value in values(layers[0]).items():
        expected = values(layers[1])[name]
        scale = condition * np.abs(expected).max()
        close(value, expected, 25, scale=scale)
    before = values(layers[0])
    layers[0].update_whitening(x, np.zeros((8, 5), bool))
    for name, value in values(layers[0]).items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(ValueError, match="`mask` must not differ"):
        layers[0].update_whitening(x, np.ones(x.shape))


# Updates by itself ------------------------------------------------------------


@pytest.mark.parametrize("position, whitening", KINDS)
def test_the_latest_samples_are_whitened_in_time(position, whitening):
    kind = {"position": position, "whitening": whitening}
    x = inputs(rows=120).reshape(5, 24, 6)
    layer = WhitenedDense(5, update_every=2, num_samples=40, **kind)
    twin = WhitenedDense(5, **kind)
    layer.build((None, 6))
    twin.build((None, 6))
    start = layer.get_weights()
    twin.set_weights(start[:5])
    plain = array(twin(x[0]))
    for step in range(5):
        before = values(layer)
        y = layer(x[step], training=True)
        close(array(y), x[step] @ start[0], scale=30.0)
        after = values(layer)
        latest = np.concatenate(x[: step + 1][::-1])[:40]
        np.testing.assert_array_equal(after["samples"][: len(latest)], latest)
        assert after["sample_weights"].sum() == len(latest)
        assert after["step"] == step + 1
        due = step % 2 == 1
        for name in STATE:
            assert np.any(after[name] != before[name]) == due
        np.testing.assert_array_equal(after["kernel"], start[0])
        if due:
            twin.update_whitening(latest)
            at = values(twin)
            for name in ("mean", "whitening_matrix", "compensation"):
                # A small eigenvalue is as exact as the largest.
                close(after[name], at[name], scale=300.0)
            acting = after["kernel"] + after["kernel_shift"]
            close(acting, at["kernel"], scale=300.0)
    close(array(layer(x[0])), plain, scale=30.0)


@pytest.mark.compile
@pytest.mark.parametrize("position", ["pre", "post"])
def test_compiled_training_is_the_eager_one(position):
    x = inputs(rows=96)
    target = x @ random(6, 2, seed=5)
    found = []
    for options in ({"run_eagerly": True}, {"jit_compile": BACKEND != "torch"}):
        keras.utils.set_random_seed(1)
        layer = WhitenedDense(
            2,
            position=position,
            whitening="zca",
            update_every=2,
            num_samples=64,
        )
        model = keras.Sequential([keras.Input((6,)), layer])
        model.compile(keras.optimizers.SGD(0.01), "mse", **options)
        history = model.fit(
            x, target, batch_size=16, epochs=2, shuffle=False, verbose=0
        )
        found.append((history.history["loss"], values(layer)))
    (a, state), (b, other) = found
    np.testing.assert_allclose(a, b, rtol=1e-4)
    assert b[-1] < b[0]
    for name, value in state.items():
        close(other[name], value, 96 * 12, scale=max(30.0, np.abs(value).max()))


@pytest.mark.skipif(BACKEND == "torch", reason="it has no graph")
def test_no_decomposition_in_the_inference_graph():
    layer = WhitenedDense(5, update_every=1, num_samples=10)
    layer.build((None, 6))
    x = random(7, 6)
    if JAX:
        import jax

        def graph(training):
            return str(
                jax.make_jaxpr(
                    lambda w, s, x: layer.stateless_call(
                        w, s, x, training=training
                    )
                )(
                    [w.value for w in layer.trainable_variables],
                    [v.value for v in layer.non_trainable_variables],
                    x,
                )
            )

        name = "eigh"
    else:
        import tensorflow as tf

        def graph(training):
            function = tf.function(lambda x: layer(x, training=training))
            concrete = function.get_concrete_function(
                tf.TensorSpec((7, 6), "float32")
            )
            return str(concrete.graph.as_graph_def())

        name = "SelfAdjointEig"
    assert name in graph(True)
    assert name not in graph(False)


def test_learns_where_plain_gradient_descent_does_not():
    """Least squares of condition 1e4: whitened, the condition is 1."""
    x = inputs("condition 1e6") * np.float32(3.0)
    target = (x / x.std()) @ random(6, 1, seed=6)
    losses = {}
    for update in (None, 5):
        keras.utils.set_random_seed(3)
        layer = WhitenedDense(
            1, epsilon=1e-7, update_every=update, num_samples=200
        )
        model = keras.Sequential([keras.Input((6,)), layer])
        model.compile(keras.optimizers.SGD(0.2), "mse")
        history = model.fit(
            x, target, batch_size=200, epochs=40, shuffle=False, verbose=0
        )
        losses[update] = history.history["loss"][-1]
    assert losses[5] < 0.01 * losses[None]


def test_weights_of_keras_load():
    plain = keras.layers.Dense(5)
    plain.build((None, 6))
    store = {}
    plain.save_own_variables(store)
    x = random(3, 6)
    for options in ({}, {"update_every": 2}, {"position": "post"}):
        layer = WhitenedDense(5, **options)
        layer.build((None, 6))
        layer.load_own_variables(store)
        close(inference(layer, [x]), inference(plain, [x]))


@pytest.mark.parametrize("dtype", ["mixed_float16", "float16"])
def test_half_precision_updates_in_float32(dtype):
    x = inputs().astype("float16")
    layer = WhitenedDense(5, update_every=1, num_samples=100, dtype=dtype)
    before = array(layer(x)).astype("float32")
    for _ in range(2):
        y = layer(x, training=True)
    assert layer.whitening_matrix.dtype == "float32"
    assert layer.kernel_shift.dtype == "float32"
    close(array(y).astype("float32"), before, 6, "float16", scale=30.0)
