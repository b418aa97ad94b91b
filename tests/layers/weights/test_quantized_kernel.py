"""Binary and ternary kernels: levels, gradients, invariance, draws."""

import keras
import numpy as np
import pytest
from keras import layers
from keras import ops

import keras_norm as kn
from golden.tolerance import error
from golden.tolerance import tolerance
from gradients import gradients
from gradients import weight_name
from layers.weights.effective import LABELS
from layers.weights.effective import array
from layers.weights.effective import arrays
from layers.weights.effective import effective
from layers.weights.kinds import KINDS
from layers.weights.kinds import batch
from layers.weights.kinds import built
from oracles import weights as oracle

Quantized = kn.layers.QuantizedKernel
TORCH = keras.backend.backend() == "torch"


def wrapped(kind, seed=0, **options):
    """A wrapper around a layer of a kind; one entry of its kernel is 0."""
    layer = built(kind)
    random = np.random.default_rng(seed)
    values = [0.8 * random.standard_normal(w.shape) for w in layer.weights]
    values[0].reshape(-1)[3] = 0
    layer.set_weights(values)
    wrapper = Quantized(layer, **options)
    wrapper.build((None, *KINDS[kind][1]))
    return wrapper


@pytest.mark.parametrize(
    "kind, options",
    [
        ("dense", {}),
        ("dense", {"levels": "ternary"}),
        ("dense", {"alpha": None, "gradient": "clipped"}),
        ("dense", {"alpha": 0.3, "gradient": "identity"}),
        ("dense", {"levels": "ternary", "alpha": "kernel", "threshold": 0.0}),
        ("grouped", {"levels": "ternary", "gradient": "clipped"}),
        ("grouped", {"alpha": "glorot"}),
        ("depthwise", {"levels": "ternary"}),
        ("transposed", {"alpha": "kernel", "gradient": "identity"}),
        ("embedding", {"levels": "ternary", "threshold": 0.9}),
        ("lstm", {}),
        ("lstm", {"levels": "ternary", "alpha": "kernel"}),
        ("lstm", {"levels": "ternary", "alpha": "glorot"}),
    ],
)
def test_levels_and_gradient(kind, options):
    wrapper = wrapped(kind, **options)
    random = np.random.default_rng(1)
    kernels = wrapper.kernels()
    upstream = {k.path: random.standard_normal(k.shape) for k in kernels}
    found = effective(wrapper, upstream.values())
    given = {k: v for k, v in options.items() if k != "gradient"}
    rule = options.get("gradient", "code")
    for kernel in kernels:
        path = kernel.path
        v = arrays(wrapper)[path]
        codes, scale = oracle.quantization(
            v, LABELS[kind][path], gates=kernel.gates, **given
        )
        # A mean; with the gradient a product.
        allowed = tolerance("plain", "float64", v.size)
        assert np.array_equal(np.sign(found.kernels[path]), codes)
        assert error(found.kernels[path], codes * scale) <= allowed
        slope = oracle.quantization_gradient(v, scale, upstream[path], rule)
        assert error(found.kernel_gradients[path], slope) <= allowed


@pytest.mark.parametrize("levels", ["binary", "ternary"])
def test_levels_are_exact(levels):
    ones = [np.ones((8, 6))]
    w = effective(wrapped("dense", levels=levels, alpha=None), ones)
    values = set(np.unique(w.kernels["kernel"]))
    assert values == ({-1, 1} if levels == "binary" else {-1, 0, 1})
    w = effective(wrapped("dense", levels=levels), ones)
    for neuron in w.kernels["kernel"].T:
        assert len(set(np.abs(neuron)) - {0}) == 1


# Invariance -------------------------------------------------------------------


class NormalizedCell(layers.LSTMCell):
    """An LSTM cell with layer normalization of both products."""

    def __init__(self, units):
        super().__init__(units)
        self.normalize = kn.layers.LayerNormalization(
            epsilon=0.0, scale=False, center=False
        )

    def call(self, inputs, states, training=None):
        h, c = states
        z = self.normalize(ops.matmul(inputs, self.kernel))
        z = z + self.normalize(ops.matmul(h, self.recurrent_kernel))
        i, f, g, o = ops.split(z + self.bias, 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(c)
        return h, [h, c]


class Followed(keras.layers.Layer):
    """A wrapper and what comes after it."""

    def __init__(self, wrapper, after=None, recurrent=False):
        super().__init__()
        self.wrapper, self.after, self.recurrent = wrapper, after, recurrent

    def build(self, input_shape):
        self.wrapper.build(input_shape)
        if self.after is not None:
            self.after.build(self.wrapper.compute_output_shape(input_shape))
        self.built = True

    def call(self, inputs, training=None):
        options = {}
        if self.recurrent:
            # The first step has something to normalize as well.
            options["initial_state"] = [inputs[:, 0], inputs[:, 1]]
        y = self.wrapper(inputs, training=training, **options)
        return y if self.after is None else self.after(y, training=training)


def around(layer):
    """Weight normalization with a scale that does not come from the kernel."""
    return kn.layers.WeightNormalization(
        layer, epsilon=0.0, scale_initializer="ones"
    )


NETWORKS = {
    "layer": lambda q: Followed(
        q(layers.Dense(6)), kn.layers.LayerNormalization(epsilon=0.0)
    ),
    "batch": lambda q: Followed(
        q(layers.Dense(6)), kn.layers.BatchNormalization(epsilon=0.0)
    ),
    "convolution": lambda q: Followed(
        q(layers.Conv1D(6, 2, groups=2)),
        kn.layers.BatchNormalization(epsilon=0.0),
    ),
    "weight": lambda q: Followed(around(q(layers.Dense(6)))),
    "weight lstm": lambda q: Followed(around(q(layers.LSTM(4))), None, True),
    "layer lstm": lambda q: Followed(
        q(layers.RNN(NormalizedCell(4))), None, True
    ),
}


def scaled(network, factor, **options):
    """(result, {path: gradient}) with the raw kernels times a factor."""
    found = []

    def quantized(layer):
        found.append(Quantized(layer, **options))
        return found[0]

    layer = NETWORKS[network](quantized)
    shape = (4, 8) if network in ("layer", "batch", "weight") else (5, 6, 4)
    layer.build((None, *shape[1:]))
    random = np.random.default_rng(0)
    for kernel in found[0].kernels():
        v = random.standard_normal(kernel.shape).astype("float32")
        kernel.value.assign(v * np.float32(factor))
    x = random.standard_normal(shape)
    units = layer.wrapper.compute_output_shape(shape)
    result = gradients(layer, [x], random.standard_normal(units))
    names = [weight_name(layer, k.value) for k in found[0].kernels()]
    return [result.outputs, *[result.weights[n] for n in names]]


@pytest.mark.parametrize(
    "network, options",
    [(n, {}) for n in NETWORKS]
    + [
        ("weight lstm", {"levels": "ternary"}),
        ("layer", {"alpha": None}),
        ("batch", {"levels": "ternary", "alpha": "kernel"}),
        ("layer", {"levels": "ternary", "alpha": "glorot"}),
        ("layer", {"levels": "ternary", "sampled": True, "seed": 3}),
        ("layer", {"sampled": True, "alpha": "kernel", "seed": 3}),
    ],
)
def test_scale_of_the_raw_kernel_does_not_matter(network, options):
    wanted = scaled(network, 1.0, **options)
    # Six steps of a cell, each a reduction of 8 or 16 after another.
    allowed = 6 * tolerance("standardize", "float64", 16, gradient=True)
    for factor in (2.0**-7, 30.0):
        found = scaled(network, factor, **options)
        for one, other in zip(found, wanted, strict=True):
            assert np.abs(other).max() > 1e-3
            assert error(one, other) <= allowed


def test_where_the_scale_matters():
    wanted = scaled("weight", 1.0, gradient="identity")
    found = scaled("weight", 4.0, gradient="identity")
    assert error(4.0 * found[1], wanted[1]) <= 1e-5
    # All of it passes, then none.
    assert scaled("weight", 0.1, gradient="clipped")[1].all()
    assert not scaled("weight", 1e3, gradient="clipped")[1].any()


# Draws ------------------------------------------------------------------------

ROWS = np.array([-2.0, -0.3, 0.0, 0.1, 0.6])


def drawing(**options):
    """A wrapper around a kernel of many equal columns."""
    layer = layers.Dense(20000, use_bias=False)
    layer.build((None, len(ROWS)))
    layer.set_weights([np.repeat(ROWS[:, None], 20000, 1)])
    wrapper = Quantized(layer, **options)
    wrapper.build((None, len(ROWS)))
    return wrapper


@pytest.mark.parametrize("levels", ["binary", "ternary"])
@pytest.mark.parametrize("alpha", ["neuron", None])
def test_draws_have_the_clipped_kernel_as_their_mean(levels, alpha):
    wrapper = drawing(levels=levels, alpha=alpha, sampled=True, seed=1)
    w = array(wrapper.effective_kernels(training=True)["kernel"])
    labels = "rr" if alpha is None else "ro"
    _, scale = oracle.quantization(ROWS[:, None], labels, levels, alpha)
    scale = scale[:, 0]
    mean = np.clip(ROWS, -scale, scale)
    square = scale**2 if levels == "binary" else scale * np.abs(mean)
    deviation = np.sqrt(np.maximum(square - mean**2, 0) / w.shape[1])
    off = np.abs(np.mean(w, axis=1, dtype="float64") - mean)
    # Five standard errors, and the rounding of the level.
    assert (off <= 5 * deviation + 1e-6).all()
    # Entries that are clipped always have the level of their sign.
    assert np.allclose(w[0], -scale[0], rtol=1e-6, atol=0)


def test_draws_are_of_the_seed_and_of_training_alone():
    one, same = (drawing(sampled=True, seed=4) for _ in range(2))
    plain = array(drawing().effective_kernel())
    first = array(one.effective_kernels(training=True)["kernel"])
    again = array(same.effective_kernels(training=True)["kernel"])
    assert np.array_equal(first, again)
    second = array(one.effective_kernels(training=True)["kernel"])
    assert not np.array_equal(first, second)
    assert np.array_equal(array(one.effective_kernel()), plain)
    assert one.get_config()["seed"] == 4
    one.trainable = False
    assert np.array_equal(
        array(one.effective_kernels(training=True)["kernel"]), plain
    )


def test_kernels_of_zeros_stay_finite():
    for levels in ("binary", "ternary"):
        wrapper = wrapped("dense", levels=levels, sampled=True, seed=0)
        wrapper.layer.kernel.assign(np.zeros((8, 6)))
        found = effective(wrapper, [np.ones((8, 6))], training=True)
        assert not found.kernels["kernel"].any()
        assert not found.kernel_gradients["kernel"].any()


# The layer --------------------------------------------------------------------


@pytest.mark.parametrize("levels", ["binary", "ternary"])
@pytest.mark.parametrize("kind", ["grouped", "lstm"])
def test_removed_and_given_back(kind, levels):
    x = batch(kind)
    wrapper = wrapped(kind, levels=levels, alpha="kernel")
    assert max(wrapper.violations().values()) <= 1e-6
    kernel = wrapper.kernels()[0]
    other = ops.convert_to_tensor(kernel.value)
    assert float(array(wrapper.violation(other, kernel))) > 0.05
    y = array(wrapper(x))
    plain = wrapper.remove()
    assert np.abs(array(plain(x)) - y).max() <= 1e-5
    # What has levels keeps them.
    again = Quantized(plain, levels, alpha="kernel")
    assert np.abs(array(again(x)) - y).max() <= 1e-5


def test_one_kernel_of_several():
    wrapper = wrapped("lstm", targets=["recurrent_kernel"])
    assert list(wrapper.effective_kernels()) == ["recurrent_kernel"]
    assert wrapper(batch("lstm")).shape == (4, 6, 5)


def test_learned_scale_starts_where_the_mean_is():
    w = array(wrapped("dense").effective_kernel())
    wrapper = wrapped("dense", alpha=None, scale=True, scale_initializer=None)
    assert np.abs(array(wrapper.effective_kernel()) - w).max() <= 1e-6
    wrapper = wrapped("dense", scale=True, scale_initializer=None)
    assert np.abs(array(wrapper.g) - 1).max() <= 1e-6


def test_half_precision():
    wrapper = Quantized(layers.Dense(6, dtype="mixed_bfloat16"))
    y = wrapper(np.ones((4, 8), "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    w = wrapper.effective_kernel()
    assert keras.backend.standardize_dtype(w.dtype) == "float32"


@pytest.mark.parametrize(
    "options, text",
    [
        ({"levels": "three"}, "binary"),
        ({"alpha": "channel"}, "neuron"),
        ({"alpha": 0.0}, "positive number"),
        ({"gradient": "none"}, "identity"),
        ({"threshold": 1.0}, r"\[0, 1\)"),
    ],
)
def test_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Quantized(layers.Dense(2), **options)


# Training ---------------------------------------------------------------------


def fitted(layer, jit):
    """Losses of a network of this layer, and how far it is from levels."""
    dense = around(Quantized(layers.Dense(1)))
    model = keras.Sequential(
        [keras.Input((6, 4)), layer, layers.Flatten(), dense]
    )
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit)
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    history = model.fit(x, x[:, -1, :1], 32, epochs=10, verbose=0)
    return history.history["loss"], max(layer.violations().values())


def test_fit():
    recurrent = Quantized(
        layers.LSTM(8),
        "ternary",
        "kernel",
        sampled=True,
        seed=0,
        targets=["recurrent_kernel"],
    )
    # torch.compile takes minutes for it.
    losses, off = fitted(recurrent, not TORCH)
    assert losses[-1] < 0.7 * losses[0]
    assert off <= 1e-6


@pytest.mark.all
def test_digits_are_learned_with_kernels_of_two_and_three_levels():
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(1797)
    x = digits.data[order].astype("float32") / 8 - 1
    y = digits.target[order]
    model = keras.Sequential(
        [
            keras.Input((64,)),
            Quantized(layers.Dense(128, use_bias=False)),
            kn.layers.BatchNormalization(momentum=0.9),
            layers.Activation("relu"),
            Quantized(layers.Dense(10), "ternary", sampled=True, seed=0),
            kn.layers.BatchNormalization(momentum=0.9),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=not TORCH,
    )
    model.fit(x[:1280], y[:1280], 64, epochs=5, verbose=0)
    score = model.evaluate(x[1280:], y[1280:], 517, verbose=0)
    assert score[1] > 0.9
    for layer in (model.layers[0], model.layers[3]):
        assert layer.violations()["kernel"] <= 1e-6
