# %% [markdown]
# # From TensorFlow Addons: the same layers and weights on Keras 3
#
# TensorFlow Addons (TFA) ended in 2024 with version 0.23.0, and its layers
# need Keras 2. This tutorial moves a model with five of them to Keras 3:
# `WeightNormalization`, `SpectralNormalization`, `GroupNormalization`,
# `InstanceNormalization` and `FilterResponseNormalization` with its activation
# `TLU`. It says what each argument and each saved array becomes, where the two
# differ, shows that the outputs agree, and trains the model on.
#
# TFA itself is not needed here. What its layers compute is written below in
# NumPy, from the source of 0.23.0; these functions, and the order of the
# weights, were compared with TFA's own layers (on tf_keras 2.21) and agreed to
# rounding.
#
# ## In the old environment
#
# The model that is to move, in TensorFlow 2.15 or older:
#
# ```python
# Conv2D, Dense = tf.keras.layers.Conv2D, tf.keras.layers.Dense
# model = tf.keras.Sequential([
#     tf.keras.Input((8, 8, 1)),
#     tfa.layers.WeightNormalization(
#         Conv2D(16, 3, padding="same"), name="conv_1"),
#     tfa.layers.GroupNormalization(groups=4, name="norm_1"),
#     tf.keras.layers.ReLU(),
#     Conv2D(16, 3, padding="same", name="conv_2"),
#     tfa.layers.InstanceNormalization(name="norm_2"),
#     tf.keras.layers.ReLU(),
#     Conv2D(16, 3, padding="same", name="conv_3"),
#     tfa.layers.FilterResponseNormalization(
#         learned_epsilon=True, name="norm_3"),
#     tfa.layers.TLU(name="tlu"),
#     tf.keras.layers.AveragePooling2D(4),
#     tf.keras.layers.Flatten(),
#     tfa.layers.SpectralNormalization(
#         Dense(32, activation="relu"), name="dense"),
#     tfa.layers.WeightNormalization(
#         Dense(10, activation="softmax"), name="head"),
# ])
# ```
#
# Save plain arrays, by layer and number. They need neither TFA nor TensorFlow
# to be read:
#
# ```python
# np.savez("old.npz", **{
#     f"{layer.name}/{i}": value
#     for layer in model.layers
#     for i, value in enumerate(layer.get_weights())
# })
# ```
#
# ## Arguments
#
# What is not listed (`center`, `scale`, `beta_...`, `gamma_...`, `tau_...`) has
# the same name, default and meaning. WN, SN, GN, IN and FRN are the five
# classes.
#
# | | TFA 0.23.0 | keras_norm |
# |---|---|---|
# | WN | `data_init=True` | `initialize(model, x)`, see below |
# | WN | the last axis of the kernel | `axis=None`: by the type of the layer |
# | WN | of an RNN the recurrent kernel | `targets=None`: all kernels |
# | SN | `power_iterations=1` | `power_iterations=1` |
# | GN | `groups=32`, in old versions 2 | `groups=32` |
# | GN | `axis=-1`, `epsilon=1e-3` | `axis=-1`, `epsilon=1e-3` |
# | IN | `axis=-1`, **`epsilon=1e-3`** | `axis=-1`, **`epsilon=1e-5`** |
# | FRN | `epsilon=1e-6` | `epsilon=1e-6` |
# | FRN | `axis=[1, 2]`, the positions | `axis=-1`, the channels |
# | FRN | `learned_epsilon=False` | `learn_epsilon=False` |
# | FRN | `learned_epsilon_constraint` | none: the sign does not matter |
# | TLU | a threshold for each *entry* | one for each *channel* |
# | TLU | `affine=False`, `alpha_...` | the small layer below |
#
# Instance normalization is group normalization with as many groups as
# channels, in both; `GroupNormalization(groups=-1)` is another name for it,
# with the epsilon of 1e-3.
#
# ## Weights
#
# In the order of `get_weights()`, with their shapes for C channels or neurons.
#
# | | TFA 0.23.0 | keras_norm |
# |---|---|---|
# | WN | g, kernel, bias, initialized | kernel, bias, g |
# | | with `data_init` a copy of kernel, bias | |
# | SN | kernel, bias, sn_u (1, C) | kernel, bias, vector_u (1, C) |
# | GN, IN | gamma, beta | gamma, beta |
# | FRN | learned_epsilon, gamma, beta | gamma, beta, learned_epsilon |
# | | (1,), (1, 1, 1, C), (1, 1, 1, C) | (C,), (C,), (1,) |
# | TLU | tau, and alpha if affine | tau |
# | | the shape of the input without batch | (C,) |
#
# The learned epsilon is there if it was asked for, a bias if the layer has one.

# %%
import io
import sys
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_norm as kn

# The short run trains once, on few images, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SEEDS = range(1 if QUICK else 3)
EPOCHS = 1 if QUICK else 10


def keep(figure, name):
    """Writes a picture beside this file."""
    figure.savefig(io.BytesIO() if QUICK else HERE / name, dpi=110)


# %% [markdown]
# ## What TFA's layers compute
#
# In float64.


# %%
def addons_weight_normalization(kernel, g):
    """The kernel that the wrapped layer is given."""
    axes = tuple(range(kernel.ndim - 1))
    square = np.sum(kernel**2, axis=axes, keepdims=True)
    return kernel / np.sqrt(np.maximum(square, 1e-12)) * g


def addons_spectral_step(kernel, u, iterations=1):
    """(kernel, u) after a training call, which overwrites both."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    for _ in range(iterations):
        v = u @ matrix.T
        v = v / np.linalg.norm(v)
        u = v @ matrix
        u = u / np.linalg.norm(u)
    return kernel / (v @ matrix @ u.T), u


def addons_group_normalization(x, gamma, beta, groups, epsilon=1e-3):
    """Consecutive channels; with as many groups as channels by instance."""
    parts = x.reshape(*x.shape[:-1], groups, -1)
    axes = (*range(1, x.ndim - 1), -1)
    mean = parts.mean(axis=axes, keepdims=True)
    variance = parts.var(axis=axes, keepdims=True)
    parts = (parts - mean) / np.sqrt(variance + epsilon)
    return parts.reshape(x.shape) * gamma + beta


def addons_filter_response(x, learned_epsilon, gamma, beta, epsilon=1e-6):
    """The mean square of each channel, without a mean."""
    square = np.mean(x**2, axis=(1, 2), keepdims=True)
    total = square + epsilon + np.abs(learned_epsilon)
    return gamma * x / np.sqrt(total) + beta


def addons_tlu(x, tau, alpha=0.0):
    """The larger of the input and a threshold."""
    return np.maximum(x, tau + alpha * x)


def convolve(x, kernel, bias):
    """Conv2D(..., 3, padding="same")."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel) + bias


# %% [markdown]
# ## A file of weights
#
# With your own `old.npz`, `arrays = np.load("old.npz")` is all of this cell.
# Here random numbers take its place, in TFA's order and shapes. The spectrally
# normalized kernel looks as training leaves it: the last call has normalized
# it, the optimizer has moved it since.


# %%
def stand_in(seed):
    """{layer/number: array}, as of the old model."""
    random = np.random.default_rng(seed)

    def kernel(*shape):
        return random.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))

    def around(value, *shape):
        return value + 0.1 * random.normal(size=shape)

    def weight_normalization(*shape):
        v = kernel(*shape)
        g = np.linalg.norm(v.reshape(-1, shape[-1]), axis=0)
        bias = around(0, shape[-1])
        g = g * around(1, shape[-1])
        return [g, v, bias, np.array(True), kernel(*shape), np.zeros_like(bias)]

    u = 0.02 * random.normal(size=(1, 32))
    spectral, u = addons_spectral_step(kernel(64, 32), u, 20)
    spectral = spectral + 0.02 * random.normal(size=spectral.shape)
    layers = {
        "conv_1": weight_normalization(3, 3, 1, 16),
        "norm_1": [around(1, 16), around(0, 16)],
        "conv_2": [kernel(3, 3, 16, 16), around(0, 16)],
        "norm_2": [around(1, 16), around(0, 16)],
        "conv_3": [kernel(3, 3, 16, 16), around(0, 16)],
        "norm_3": [
            np.array([1e-4]),
            around(1, 1, 1, 1, 16),
            around(0, 1, 1, 1, 16),
        ],
        "tlu": [around(0, 8, 8, 16)],
        "dense": [spectral, around(0, 32), u],
        "head": weight_normalization(32, 10),
    }
    return {
        f"{name}/{i}": np.asarray(value, bool if i == 3 else "float32")
        for name, values in layers.items()
        for i, value in enumerate(values)
    }


arrays = stand_in(0)
for name, value in arrays.items():
    print(f"{name:10}{value.dtype!s:9}{value.shape}")

# %% [markdown]
# ## The threshold of each entry
#
# TFA's TLU learns a threshold for every position of every channel, and so
# works for one size of image only. Singh and Krishnan have one for each
# channel, and so has `kn.layers.TLU`. Behind a dense layer the two are the
# same. On maps there are two ways: the mean over the positions, which changes
# the function and is quickly trained again, or this small layer, which is
# exactly TFA's.


# %%
@keras.saving.register_keras_serializable("migration")
class EntryTLU(keras.layers.Layer):
    """max(x, tau + alpha x), tau and alpha for each entry, as in TFA."""

    def __init__(self, affine=False, **kwargs):
        super().__init__(**kwargs)
        self.affine = affine

    def build(self, input_shape):
        """tau, then alpha."""
        self.tau = self.add_weight(
            shape=input_shape[1:], initializer="zeros", name="tau"
        )
        if self.affine:
            self.alpha = self.add_weight(
                shape=input_shape[1:], initializer="zeros", name="alpha"
            )

    def call(self, inputs):
        """The larger of the two."""
        slope = self.alpha * inputs if self.affine else 0.0
        return ops.maximum(inputs, self.tau + slope)

    def get_config(self):
        """With `affine`."""
        return {**super().get_config(), "affine": self.affine}


# %% [markdown]
# ## The new model
#
# The same layers with the names they had. Two lines differ: the epsilon of
# instance normalization, and the threshold.


# %%
def new_model():
    """The model of the old environment."""
    conv, dense = keras.layers.Conv2D, keras.layers.Dense
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            kn.layers.WeightNormalization(
                conv(16, 3, padding="same"), name="conv_1"
            ),
            kn.layers.GroupNormalization(groups=4, name="norm_1"),
            keras.layers.ReLU(),
            conv(16, 3, padding="same", name="conv_2"),
            kn.layers.InstanceNormalization(epsilon=1e-3, name="norm_2"),
            keras.layers.ReLU(),
            conv(16, 3, padding="same", name="conv_3"),
            kn.layers.FilterResponseNormalization(
                learn_epsilon=True, epsilon_initializer=1e-4, name="norm_3"
            ),
            EntryTLU(name="tlu"),
            keras.layers.AveragePooling2D(4),
            keras.layers.Flatten(),
            kn.layers.SpectralNormalization(
                dense(32, activation="relu"), name="dense"
            ),
            kn.layers.WeightNormalization(
                dense(10, activation="softmax"), name="head"
            ),
        ]
    )


def migrated(layer, old):
    """TFA's arrays of one layer in our order and shapes."""
    if isinstance(layer, kn.layers.WeightNormalization):
        # Without a bias: g, kernel, initialized.
        has_bias = getattr(layer.layer, "bias", None) is not None
        return old[1 : 3 if has_bias else 2] + old[:1]
    if isinstance(layer, kn.layers.FilterResponseNormalization):
        learned = old[:1] if layer.learn_epsilon else []
        return [w.reshape(-1) for w in old[len(learned) :]] + learned
    return old


def load(model, arrays):
    """Give a model the weights of its old self."""
    for layer in model.layers:
        old = []
        while f"{layer.name}/{len(old)}" in arrays:
            old.append(arrays[f"{layer.name}/{len(old)}"])
        layer.set_weights(migrated(layer, old))


keras.utils.set_random_seed(0)
model = new_model()
load(model, arrays)

# %% [markdown]
# ## Do they agree?
#
# Each layer is given what the layer before it in NumPy has computed, for 64
# digits. Our layers compute in float32, the references in float64: differences
# of some 1e-6 are rounding.

# %%
images, labels = load_digits(return_X_y=True)
images = (images / 16.0).astype("float32").reshape(-1, 8, 8, 1)
x = images[:64]
w = {name: value.astype("float64") for name, value in arrays.items()}


def relu(values):
    """max(x, 0)."""
    return np.maximum(values, 0)


def softmax(values):
    """Probabilities."""
    values = np.exp(values - values.max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)


def numbered(name, *which):
    """Arrays of a layer by their numbers."""
    return [w[f"{name}/{i}"] for i in which]


def reference(x, training=False):
    """{layer: (input, output)} of TFA's model; see `training` below."""
    found = {}

    def note(name, inputs, outputs):
        found[name] = (inputs, outputs)
        return outputs

    g, v, bias = numbered("conv_1", 0, 1, 2)
    kernel = addons_weight_normalization(v, g)
    t = note("conv_1", x, convolve(x, kernel, bias))
    gamma, beta = numbered("norm_1", 0, 1)
    t = note("norm_1", t, addons_group_normalization(t, gamma, beta, 4))
    t = relu(t)
    t = note("conv_2", t, convolve(t, *numbered("conv_2", 0, 1)))
    gamma, beta = numbered("norm_2", 0, 1)
    t = note("norm_2", t, addons_group_normalization(t, gamma, beta, 16))
    t = relu(t)
    t = note("conv_3", t, convolve(t, *numbered("conv_3", 0, 1)))
    t = note(
        "norm_3", t, addons_filter_response(t, *numbered("norm_3", 0, 1, 2))
    )
    t = note("tlu", t, addons_tlu(t, *numbered("tlu", 0)))
    t = t.reshape(-1, 2, 4, 2, 4, 16).mean(axis=(2, 4)).reshape(-1, 64)
    kernel, bias, u = numbered("dense", 0, 1, 2)
    if training:
        kernel, _ = addons_spectral_step(kernel, u)
    t = note("dense", t, relu(t @ kernel + bias))
    g, v, bias = numbered("head", 0, 1, 2)
    kernel = addons_weight_normalization(v, g)
    note("head", t, softmax(t @ kernel + bias))
    return found


def difference(layer, inputs, outputs, **options):
    """The largest between a layer of ours and a reference."""
    ours = layer(inputs.astype("float32"), **options)
    return np.abs(ops.convert_to_numpy(ours) - outputs).max()


print(f"\n{keras.backend.backend()}\n{'layer':10}{'class':30}difference")
for name, (inputs, outputs) in reference(x, training=True).items():
    layer = model.get_layer(name)
    training = {"training": True} if name == "dense" else {}
    found = difference(layer, inputs, outputs, **training)
    print(f"{name:10}{type(layer).__name__:30}{found:.1e}")
    assert found < 2e-5

# %% [markdown]
# ## Spectral normalization: the same step, another inference
#
# Above, the dense layer was called as in training: both make one step of power
# iteration from the saved u and divide by what they find. The new u agrees too.
#
# At inference TFA computes with the kernel as the optimizer has left it, which
# is *not* normalized: its largest singular value is what the last step has made
# of it. Ours is normalized at inference as well, so that the answers of the
# whole model change by that much. To get exactly the old answers, give a plain
# layer the saved kernel and bias; for further training,
# `kn.tools.reparameterize(model, kn.layers.SpectralNormalization, ["dense"])`
# wraps it again.
#
# Gradients differ too. TFA overwrites the kernel in training and takes the
# gradient at the result, as if it had never been divided; ours goes through the
# division. Expect other curves of training, with the same bound.

# %%
kernel, bias, u = numbered("dense", 0, 1, 2)
wrapped = model.get_layer("dense")
step = addons_spectral_step(kernel, u)[1]
advanced = ops.convert_to_numpy(wrapped.vector_u)
print(
    f"\nvector_u after one training call: {np.abs(advanced - step).max():.1e}"
)
ours = ops.convert_to_numpy(wrapped.effective_kernel())
print(
    "largest singular value at inference: "
    f"TFA {np.linalg.norm(kernel, 2):.4f}, ours {np.linalg.norm(ours, 2):.4f}"
)
wrapped.converge()
ours = ops.convert_to_numpy(wrapped.effective_kernel())
print(f"after converge(): {np.linalg.norm(ours, 2):.4f}")

answers = reference(x)["head"][1]
found = model.predict(x, verbose=0)
print(f"whole model at inference: {np.abs(found - answers).max():.1e}")
exact = kn.tools.remove_parametrizations(model)
exact.get_layer("dense").set_weights([arrays["dense/0"], arrays["dense/1"]])
found = exact.predict(x, verbose=0)
print(f"with a plain dense layer: {np.abs(found - answers).max():.1e}")
assert np.abs(found - answers).max() < 2e-5

# %% [markdown]
# ## What goes wrong without a message
#
# * **The epsilon of instance normalization.** Ours has 1e-5 as in PyTorch, TFA
#   1e-3. The weights load either way.
# * **One threshold for each channel** instead of TFA's for each entry.

# %%
print()
inputs, outputs = reference(x)["norm_2"]
for epsilon in (1e-3, 1e-5):
    layer = kn.layers.InstanceNormalization(epsilon=epsilon)
    layer.build(inputs.shape)
    layer.set_weights([arrays["norm_2/0"], arrays["norm_2/1"]])
    found = difference(layer, inputs, outputs)
    print(f"InstanceNormalization(epsilon={epsilon:g}): {found:.1e}")

inputs, outputs = reference(x)["tlu"]
channels = kn.layers.TLU()
channels.build(inputs.shape)
channels.set_weights([arrays["tlu/0"].mean(axis=(0, 1))])
for name, layer in {
    "EntryTLU": model.get_layer("tlu"),
    "TLU": channels,
}.items():
    print(f"{name}: {difference(layer, inputs, outputs):.1e}")

# %% [markdown]
# More of the kind:
#
# * **Masks.** TFA's group normalization lets a mask pass and ignores it. Ours
#   leaves the masked entries out of the statistics.
# * **Transposed convolutions.** Their kernels end with the *input* channels,
#   and TFA has one g or entry of u for each index of the last axis, whatever
#   the layer. Ours takes the output channels; `axis=-1` gives TFA's, for
#   weights that were trained so.
# * **Recurrent layers.** TFA normalizes the recurrent kernel alone, and saves
#   g, recurrent_kernel, kernel, bias, initialized. Ours normalizes all kernels;
#   give `targets=["recurrent_kernel"]` for TFA's, with the weights kernel,
#   recurrent_kernel, bias, g.
# * **L2 on a weight-normalized kernel** makes no weight smaller, there as here:
#   it shortens v, whose length does not count. Put it on the scale:
#   `scale_regularizer`.
#
# ## The start from data
#
# `data_init=True`, TFA's default, sets g and the bias at the first call, and a
# trained model does not need it: what it did is in the saved weights. For a new
# model, call `WeightNormalization.initialize` with a built model and a batch.
# It gives every wrapped layer results of mean 0 and deviation 1, as Salimans
# and Kingma have it. TFA's does not quite: it measures the results of v but
# then computes with v / |v|, so that the deviation becomes 1 / |v| and a mean
# is left.

# %%
fresh = new_model()
start = fresh.get_layer("conv_1")
v, bias, _ = (a.astype("float64") for a in start.get_weights())
raw = convolve(x.astype("float64"), v, bias)
g = 1.0 / np.sqrt(raw.var(axis=(0, 1, 2)) + 1e-10)
kernel = addons_weight_normalization(v, g)
theirs = convolve(x.astype("float64"), kernel, -raw.mean(axis=(0, 1, 2)) * g)
names = kn.layers.WeightNormalization.initialize(fresh, x)
ours = ops.convert_to_numpy(start(x))
print(f"\ninitialized: {', '.join(names)}\nresults of the first convolution")
for name, y in {"TFA": theirs, "ours": ours}.items():
    mean, deviation = y.mean(axis=(0, 1, 2)), y.std(axis=(0, 1, 2))
    print(
        f"{name:5} mean {mean.min():6.3f} to {mean.max():6.3f}, "
        f"deviation {deviation.min():6.3f} to {deviation.max():6.3f}"
    )
assert np.allclose(ours.std(axis=(0, 1, 2)), 1.0, atol=1e-3)

# %% [markdown]
# ## Training on
#
# The model moves on from the weights it came with, three times. Beside it the
# same network without any normalization, from random kernels of the same size.

# %%
x_train, x_validation, y_train, y_validation = train_test_split(
    images, labels, test_size=1 / 3, stratify=labels, random_state=0
)
if QUICK:
    x_train, y_train = x_train[:64], y_train[:64]
    x_validation, y_validation = x_validation[:64], y_validation[:64]


def plain_model():
    """The model without normalizations."""
    start = {"kernel_initializer": "he_normal"}
    stack = [keras.Input((8, 8, 1))]
    for _ in range(3):
        stack.append(
            keras.layers.Conv2D(
                16, 3, padding="same", activation="relu", **start
            )
        )
    return keras.Sequential(
        [
            *stack,
            keras.layers.AveragePooling2D(4),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu", **start),
            keras.layers.Dense(10, activation="softmax", **start),
        ]
    )


def train(kind, seed):
    """The trained model and its curves."""
    keras.utils.set_random_seed(seed)
    if kind == "migrated":
        trained = new_model()
        load(trained, stand_in(seed))
    else:
        trained = plain_model()
    trained.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # Two steps are not worth compiling, except on JAX.
        run_eagerly=QUICK and keras.backend.backend() != "jax",
    )
    history = trained.fit(
        x_train,
        y_train,
        batch_size=64,
        epochs=EPOCHS,
        validation_data=(x_validation, y_validation),
        verbose=0,
    ).history
    return trained, history


curves, kept = {}, {}
print(f"\n{len(SEEDS)} runs, {EPOCHS} epochs; validation accuracy")
for kind in ("migrated", "plain"):
    runs = [train(kind, seed) for seed in SEEDS]
    kept[kind] = runs[0][0]
    curves[kind] = {
        key: np.array([history[key] for _, history in runs])
        for key in ("loss", "val_accuracy")
    }
    last = curves[kind]["val_accuracy"][:, -1]
    print(
        f"{kind:10} mean {last.mean():.4f}, from {last.min():.4f} "
        f"to {last.max():.4f}",
        flush=True,
    )

# %%
# Two of Okabe and Ito's colors, which the color-blind can tell apart.
COLORS = {"migrated": "#0072B2", "plain": "#D55E00"}
STYLES = {"migrated": "-", "plain": "--"}
epochs = np.arange(1, EPOCHS + 1)
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for kind, found in curves.items():
    for axis, values in zip(axes, found.values(), strict=True):
        axis.plot(
            epochs,
            values.mean(axis=0),
            color=COLORS[kind],
            linestyle=STYLES[kind],
            linewidth=2,
            label=kind,
        )
        low, high = values.min(axis=0), values.max(axis=0)
        axis.fill_between(
            epochs, low, high, color=COLORS[kind], alpha=0.15, linewidth=0
        )
axes[0].set(title="training loss", ylabel="cross entropy (nats)", yscale="log")
axes[1].set(title="validation accuracy", ylabel="fraction of images")
for axis in axes:
    axis.set(xlabel="epoch", xticks=epochs)
    axis.grid(alpha=0.3, which="both")
axes[1].legend()
figure.suptitle(f"Handwritten digits, {len(SEEDS)} runs: mean and range")
keep(figure, "04_from_tensorflow_addons.png")

# %% [markdown]
# ![Learning curves](04_from_tensorflow_addons.png)
#
# The weights of the old model are a start like any other: gradients flow
# through every layer, and from the second epoch on the loss is below that of
# the plain network, for every seed. In the end the accuracies differ by about a
# percent, as much as the runs of one kind do. (With weights of a trained model
# the curves would begin where that one ended.)
#
# ## Save and load
#
# From here on it is a Keras 3 model: one file, on any backend. Loading needs
# `import keras_norm`, and the registered `EntryTLU` where that is used.
# `remove_parametrizations` gives a copy with plain convolutions and dense
# layers.

# %%
trained = kept["migrated"]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "migrated.keras"
    trained.save(path)
    loaded = keras.models.load_model(path)
before = trained.predict(x, verbose=0)
after = loaded.predict(x, verbose=0)
print(f"\nloaded, largest difference: {np.abs(after - before).max():.1e}")
deployed = kn.tools.remove_parametrizations(loaded)
after = deployed.predict(x, verbose=0)
print(f"without wrappers: {np.abs(after - before).max():.1e}")
assert np.abs(after - before).max() < 1e-5
