# %% [markdown]
# # The conditioning of layers: what normalization does to a deep network
#
# Why does a network of twenty layers learn with normalization, and hardly
# without? One answer looks at the curvature of the loss, layer by layer. For
# the weights W of a layer h = W x, the Fisher matrix is about the product
#
#     F = E[x x^T] (x) E[g g^T],    g: gradient of a sample's loss by h,
#
# whose eigenvalues are the products of those of the two. One learning rate
# suits all weights of the network where
#
# 1. signals x and gradients g have the same size in all layers (criterion 1),
# 2. each of the two matrices is well conditioned: its eigenvalues are about
#    the same (criterion 2).
#
# The first keeps one layer from learning while the others stand still or
# diverge, the second does that for the directions within a layer. Functions of
# `kn.analysis` measure both; here they look at networks of 20 dense layers on
# scikit-learn's handwritten digits, before and after training:
#
# | network | initial weights | behind each dense layer |
# |---|---|---|
# | Glorot | Keras' default | ReLU |
# | He | twice the variance, made for ReLU | ReLU |
# | layer | He | `LayerNormalization`, ReLU |
# | batch | He | `BatchNormalization`, ReLU |
# | whitening | He | `IterativeNormalization`, ReLU |
#
# After Huang et al., Layer-wise Conditioning Analysis in Exploring the Learning
# Dynamics of DNNs, ECCV 2020, https://arxiv.org/abs/2002.10801

# %%
import io
import sys
import time
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_norm as kn

# The short run has one network, of two layers, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
DEPTH = 2 if QUICK else 20
WIDTH = 64
SEEDS = range(1 if QUICK else 3)
RATES = (0.1,) if QUICK else (0.01, 0.03, 0.1, 0.3, 1.0)
EPOCHS = 1 if QUICK else 10
BATCH_SIZE = 128
# Samples that are analyzed.
SAMPLES = 128 if QUICK else 512
# Compiling takes longer than these runs, except where there is no other way.
JIT = keras.backend.backend() == "jax"


def keep(figure, name):
    """Writes a picture beside this file."""
    figure.savefig(io.BytesIO() if QUICK else HERE / name, dpi=90)


# %% [markdown]
# ## Data and networks
#
# 64 pixels, brought to mean 0 and variance 1 over all of them together, so that
# they are as badly conditioned as they come. 64 units in every layer; the last
# dense layer gives the logits of ten digits.

# %%
images, labels = load_digits(return_X_y=True)
images = ((images - images.mean()) / images.std()).astype("float32")
x, test_x, y, test_y = train_test_split(
    images, labels, train_size=1280, stratify=labels, random_state=0
)
if QUICK:
    x, y = x[:BATCH_SIZE], y[:BATCH_SIZE]

METHODS = {
    "Glorot": ("glorot_uniform", None),
    "He": ("he_normal", None),
    "layer": ("he_normal", lambda: kn.layers.LayerNormalization()),
    "batch": (
        "he_normal",
        lambda: kn.layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
    ),
    # All 64 channels are whitened together.
    "whitening": ("he_normal", lambda: kn.layers.IterativeNormalization()),
}
if QUICK:
    METHODS = {"batch": METHODS["batch"]}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def network(method, seed):
    """Dense layers, each perhaps normalized, and a classifier."""
    keras.utils.set_random_seed(seed)
    initializer, make = METHODS[method]
    layers = [keras.Input((64,))]
    for i in range(1, DEPTH + 1):
        dense = keras.layers.Dense(
            WIDTH,
            # Normalization has an offset of its own.
            use_bias=make is None,
            kernel_initializer=initializer,
            name=f"dense_{i}",
        )
        layers += [dense, *([make()] if make else [])]
        layers.append(keras.layers.ReLU(name=f"relu_{i}"))
    layers.append(keras.layers.Dense(10, name="logits"))
    return keras.Sequential(layers)


# %% [markdown]
# ## Three analyses
#
# On the same 512 training images, in training mode: normalized by the batch,
# through which the gradients go.
#
# * `signal_propagation`: mean squares of what leaves the dense layers and of
#   the gradients there (criterion 1), and how alike the samples have become:
#   the mean cosine between two of them.
# * `conditioning`: eigenvalues of the two matrices and of F (criterion 2). The
#   condition numbers are those at 80 %, largest over the eigenvalue that 80 %
#   are not below: the least of all are 0 for pixels that are always white.
# * `effective_rank`: in how many of 64 directions the inputs of the next layer
#   extend, samples by units behind the ReLU.


# %%
def analyze(model):
    """{quantity: (layers,)} of the hidden layers."""
    data = (model, x[:SAMPLES], y[:SAMPLES], LOSS)
    hidden = [layer.name for layer in model.layers if "dense" in layer.name]
    signals = kn.analysis.signal_propagation(*data, layers=hidden)
    conditions = kn.analysis.conditioning(*data, layers=hidden, percentiles=0.8)
    ranks = kn.analysis.effective_rank(
        model, x[:SAMPLES], layers=keras.layers.ReLU
    )
    found = {
        "signal": [entry.mean_square for entry in signals],
        "gradient": [entry.gradient_mean_square for entry in signals],
        "similarity": [entry.similarity for entry in signals],
        "input condition": [c.input_condition[0] for c in conditions],
        "gradient condition": [c.gradient_condition[0] for c in conditions],
        "largest": [entry.largest for entry in conditions],
        "rank": [entry.effective_rank for entry in ranks],
    }
    return {key: np.array(values) for key, values in found.items()}


# %% [markdown]
# ## Training
#
# Plain gradient descent without momentum: it shows the condition, where Adam
# would make up for a part of it. Five learning rates for each network; what is
# analyzed in the end is the rate with the lowest loss, the mean of the seeds.
#
# Every network is compiled once and given the weights of each seed.


# %%
def train(model, weights, rate, seed):
    """Loss of each epoch; not a number counts as infinite."""
    keras.utils.set_random_seed(seed)
    model.set_weights(weights)
    model.optimizer.learning_rate = rate
    history = model.fit(
        x, y, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0
    ).history
    return np.nan_to_num(history["loss"], nan=np.inf)


def accuracy(model):
    """Share of unseen digits that are recognized."""
    logits = keras.ops.convert_to_numpy(model(test_x, training=False))
    return np.mean(np.argmax(logits, -1) == test_y)


def study(method):
    """Everything about a network, over the seeds."""
    starts = [network(method, seed).get_weights() for seed in SEEDS]
    model = network(method, 0)
    model.compile(
        keras.optimizers.SGD(),
        LOSS,
        jit_compile=JIT,
        run_eagerly=QUICK and not JIT,
        steps_per_execution=1 if QUICK else 10,
    )
    before = []
    for start in starts:
        model.set_weights(start)
        before.append(analyze(model))
    losses = np.zeros((len(RATES), len(SEEDS), EPOCHS))
    ends = {}
    for i, rate in enumerate(RATES):
        for seed, start in zip(SEEDS, starts, strict=True):
            losses[i, seed] = train(model, start, rate, seed)
            ends[i, seed] = model.get_weights()
    best = int(np.argmin(losses[:, :, -1].mean(axis=1)))
    after, accuracies = [], []
    for seed in SEEDS:
        model.set_weights(ends[best, seed])
        after.append(analyze(model))
        accuracies.append(accuracy(model))
    stacked = [
        {key: np.stack([one[key] for one in runs]) for key in runs[0]}
        for runs in (before, after)
    ]
    return stacked, losses, best, np.array(accuracies)


results = {}
for method in METHODS:
    start = time.perf_counter()
    results[method] = study(method)
    seconds = time.perf_counter() - start
    print(f"{method}: {seconds:.0f} s", flush=True)

# %% [markdown]
# ## The pictures
#
# Lines are medians of the seeds, bands reach from the least to the largest. An
# infinite condition, of a matrix with less than 80 % of full rank, leaves a
# gap, also where only one seed has it.

# %%
# Okabe and Ito's colors, which the color-blind can tell apart.
COLORS = ["#999999", "#000000", "#0072B2", "#D55E00", "#009E73"]
STYLES = [":", "-", "--", "-.", "-"]
LOOKS = dict(zip(METHODS, zip(COLORS, STYLES, strict=True), strict=False))


def draw(axis, places, values, method):
    """One network's line and band."""
    color, style = LOOKS[method]
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    axis.plot(
        places,
        np.median(values, axis=0),
        color=color,
        linestyle=style,
        label=method,
    )
    low, high = values.min(axis=0), values.max(axis=0)
    axis.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)


def finished(figure, axis):
    """A legend for all panels."""
    handles = axis.get_legend_handles_labels()
    figure.legend(*handles, ncols=len(METHODS), loc="outside lower center")


layers = np.arange(1, DEPTH + 1)
figure, axes = plt.subplots(2, 3, figsize=(10, 6), layout="constrained")
panels = {
    "signal": "mean square of signals",
    "gradient": "mean square of gradients",
    "similarity": "cosine between samples",
}
for row, when in enumerate(("at initialization", "after training")):
    for axis, (key, label) in zip(axes[row], panels.items(), strict=True):
        for method, (found, *_) in results.items():
            draw(axis, layers, found[row][key], method)
        axis.set(title=when, xlabel="layer", ylabel=label)
        axis.set_yscale("linear" if key == "similarity" else "log")
        axis.grid(alpha=0.3)
finished(figure, axes[0, 0])
keep(figure, "12_conditioning_of_layers_signals.png")

# %%
figure, axes = plt.subplots(2, 4, figsize=(13, 6), layout="constrained")
panels = {
    "input condition": "condition of inputs, 80 %",
    "gradient condition": "condition of gradients, 80 %",
    "largest": "largest eigenvalue of F",
    "rank": "effective rank behind the ReLU",
}
for row, when in enumerate(("at initialization", "after training")):
    for axis, (key, label) in zip(axes[row], panels.items(), strict=True):
        for method, (found, *_) in results.items():
            draw(axis, layers, found[row][key], method)
        axis.set(title=when, xlabel="layer", ylabel=label)
        axis.set_yscale("linear" if key == "rank" else "log")
        axis.grid(alpha=0.3)
finished(figure, axes[0, 0])
keep(figure, "12_conditioning_of_layers_conditions.png")

# %% [markdown]
# ![Signals and gradients](12_conditioning_of_layers_signals.png)
#
# ![Condition numbers and ranks](12_conditioning_of_layers_conditions.png)
#
# The same in numbers: the gradients' growth from the last hidden layer back to
# the first, and medians over the seeds and layers 2 to 20 (the first layer sees
# the pixels, which no normalization has touched).


# %%
def middle(found, key):
    """Median over seeds and layers behind the first."""
    return np.median(found[key][:, 1:])


for row, when in enumerate(("at initialization", "after training")):
    print(
        f"\n{when:20}{'gradient':>10}{'cosine':>9}{'inputs':>10}"
        f"{'gradients':>11}{'largest':>10}{'spread':>10}{'rank':>7}"
    )
    for method, (found, *_) in results.items():
        one = found[row]
        growth = np.median(one["gradient"][:, 0] / one["gradient"][:, -1])
        # Between layers: of the largest eigenvalues of F.
        spread = np.median(one["largest"].max(1) / one["largest"].min(1))
        print(
            f"{method:20}{growth:10.3g}"
            f"{np.median(one['similarity'][:, -1]):9.2f}"
            f"{middle(one, 'input condition'):10.3g}"
            f"{middle(one, 'gradient condition'):11.3g}"
            f"{middle(one, 'largest'):10.3g}{spread:10.3g}"
            f"{np.median(one['rank'][:, -1]):7.1f}"
        )

# %% [markdown]
# ## What it means for training

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
print(f"\n{'loss at a rate of':12}" + "".join(f"{r:>9}" for r in RATES))
for method, (_, losses, best, accuracies) in results.items():
    last = np.median(losses[:, :, -1], axis=1)
    print(
        f"{method:17}" + "".join(f"{v:9.3g}" for v in last) + f"  unseen: "
        f"{accuracies.mean():.3f} ({accuracies.min():.3f} to "
        f"{accuracies.max():.3f}) at {RATES[best]}"
    )
    draw(axes[0], RATES, losses[:, :, -1].T, method)
    draw(axes[1], np.arange(EPOCHS) + 1, losses[best], method)
axes[0].set(xscale="log", yscale="log", xlabel="learning rate")
axes[0].set(ylabel="loss of the last epoch")
axes[1].set(yscale="log", xlabel="epoch", ylabel="loss at the best rate")
for axis in axes:
    axis.grid(alpha=0.3)
finished(figure, axes[0])
keep(figure, "12_conditioning_of_layers_training.png")

# %% [markdown]
# ![Losses](12_conditioning_of_layers_training.png)
#
# ## Curvature, and why a rate beyond it does no harm
#
# Gradient descent on a quadratic function is stable up to a rate of 2 / largest
# eigenvalue of the Hessian. `curvature` finds that of the whole network at
# initialization. `scale_invariance` tells for which kernels that bound says
# little: where only the direction of a kernel matters, a step that is too large
# makes it longer, and thereby the next steps smaller.

# %%
print(f"\n{'':12}{'largest':>10}{'2 / largest':>13}{'invariant kernels':>20}")
for method in METHODS:
    model = network(method, 0)
    data = (model, x[:SAMPLES], y[:SAMPLES], LOSS)
    top = kn.analysis.curvature(
        *data, steps=5 if QUICK else 15, tolerance=0.05, training=True, seed=0
    ).eigenvalues[0]
    # The first and the last hidden layer stand for all of them.
    ends = [model.get_layer(f"dense_{i}").kernel for i in (1, DEPTH)]
    kernels = kn.analysis.scale_invariance(
        *data, factors=(0.5, 2.0), variables=ends
    )
    count = sum(kernel.invariant for kernel in kernels)
    print(
        f"{method:12}{top:10.1f}{2 / top:13.4f}{count:14} of {len(kernels)}",
        flush=True,
    )

# %% [markdown]
# ## What can be seen
#
# Medians of three seeds, of accuracies the means, after ten epochs of gradient
# descent.
#
# * **Glorot** misses criterion 1: each layer halves the mean square, and after
#   twenty of them 1e-6 is left of signals and, back again, of gradients. No
#   rate brings the loss below 2.28, where guessing has 2.30.
# * **He** keeps both within a factor of ten. But criterion 2 is lost: the
#   cosine between two images is 0.97 in the last layer, all inputs of which lie
#   near one line (effective rank 6 of 64), and more than a fifth of the
#   eigenvalues is 0. It learns slowly (46 % of unseen digits) at
#   0.01, worse at larger rates, and diverges at 0.3.
# * **Layer normalization** gives criterion 1 by construction, and nothing of
#   criterion 2 at initialization: cosine, rank and conditions are those of He.
#   Training mends some of that (cosine 0.49, rank 17). It bears larger rates,
#   diverges at none, and gets 67 %.
# * **Batch normalization** is the reverse: inputs have a condition of 180 at
#   80 %, its rank is 48; and gradients, which it does not normalize, have a
#   condition of 14, as the paper found. The price is criterion 1 backwards:
#   they grow by 1.44 a layer, where theory has pi / (pi - 1) = 1.47, and the
#   largest eigenvalues of F are 2000 times apart. Training brings that down to
#   100, while both conditions rise (to 2900 and 5500). It learns best by far,
#   at a rate of 0.3: loss 0.21, 92 %.
# * **Whitening** has the best conditions, 107 and 11. What is left of the first
#   is from the ReLU, whose outputs have a mean. But gradients grow by 1.53 a
#   layer, the largest eigenvalues are 15000 times apart, and up to a rate of
#   0.1 nothing is learned. With 1.0, the largest that was tried and maybe not
#   the best, the loss falls to 1.29 (35 % of unseen digits), and the inputs of
#   the second layer then extend in 20 directions instead of 51. Better
#   conditions within layers do not make up for what is lost between them.
# * **Curvature** predicts the best rate of two networks: 2 / largest is 0.009
#   for He and 0.028 for layer normalization, the best rates are 0.01 and 0.03.
#   For batch normalization and whitening the largest eigenvalues are 1500 and
#   2000, the bound 0.001, and the best rates 0.3 and 1.0 all the same: F is
#   largest in the first layers, and only the direction of their kernels
#   matters. (The first kernel misses the tolerance of 1 %, though. With batch
#   normalization, scaling it changes outputs by 1e-4 and its gradient by 2 %;
#   we suppose that epsilon does it, and that some ReLUs switch on the way
#   through twenty layers. It is perpendicular to its gradient to 3e-9.)
#
# So neither criterion says alone what learns: He and layer normalization have
# the first, whitening the second at initialization. Longer training, momentum
# or shortcuts would change the figures, and perhaps the order.
