# %% [markdown]
# # Where a transformer is normalized
#
# A transformer adds to its signal what attention and two dense layers make of
# it, block after block. Normalization can stand after each sum, as in the first
# transformers ("post"), or before each part, which leaves the sum alone
# ("pre"). Xiong et al. (2020, https://arxiv.org/abs/2002.04745) explain why the
# first kind is hard to train without a warm-up of the learning rate: at
# initialization its gradients are large in the last blocks and fall towards the
# first, while those of the second kind are of one size.
#
# And what normalizes?
#
# | layer | what divides a character's vector | centred |
# |---|---|---|
# | `LayerNormalization` | its own deviation | yes |
# | `RMSNormalization` | its own quadratic mean | no |
# | `ScaleOnlyBatchNormalization` | the quadratic mean of the batch | no |
# | `PowerNormalization` | its own, then a moving quadratic mean | no |
#
# Shen et al. (2020, https://arxiv.org/abs/2003.07845) go from batch
# normalization to the last by way of the third. Here are all eight
# combinations, as a model that guesses the next character of a small real text:
# the licence of this package and the beginning of its README.

# %%
import io
import sys
import time
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from keras import ops

import keras_norm as kn

# The short run trains two small models for a step, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SEEDS = range(1 if QUICK else 3)
EPOCHS = 1 if QUICK else 6
CHARACTERS = 1000 if QUICK else 25000
BLOCKS = 2 if QUICK else 6
LENGTH, WIDTH, HEADS, BATCH = 32, 32, 4, 16
# Learning rate, and parts of it in the first epochs of a warm-up.
RATE, WARM_UP = 3e-3, (0.1, 0.5)
# Compiling takes longer than a short run, except where there is no other way.
JIT = False if QUICK and keras.backend.backend() != "jax" else "auto"
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def keep(figure, name):
    """Writes a picture beside this file."""
    figure.savefig(io.BytesIO() if QUICK else HERE / name, dpi=90)


# %% [markdown]
# The text is cut into pieces of 32 characters; every tenth is for the test. A
# model that only knows how often each character occurs is what all have to
# beat.

# %%
names = ("LICENSE", "README.md")
text = "".join((HERE.parent / name).read_text("utf-8") for name in names)
text = text[:CHARACTERS]
alphabet = sorted(set(text))
codes = np.array([alphabet.index(c) for c in text], "int32")
pieces = (len(codes) - 1) // LENGTH
x = codes[: pieces * LENGTH].reshape(pieces, LENGTH)
y = codes[1 : pieces * LENGTH + 1].reshape(pieces, LENGTH)
tested = np.arange(pieces) % 10 == 9
test_x, test_y = x[tested], y[tested]
# Every batch is full, so that the step is compiled once.
full = np.flatnonzero(~tested)
full = full[: len(full) // BATCH * BATCH]
train_x, train_y = x[full], y[full]
STEPS = EPOCHS * len(train_x) // BATCH

counts = np.bincount(train_y.ravel(), minlength=len(alphabet)) + 1.0
FREQUENCIES = float(-np.log((counts / counts.sum())[test_y]).mean())
print(
    f"{len(train_x)} pieces to learn from in {STEPS} steps, {len(test_x)} for "
    f"the test; {len(alphabet)} characters, whose frequencies give a loss of "
    f"{FREQUENCIES:.2f}"
)


# %% [markdown]
# ## The model
#
# The moving mean of power normalization, which replaces that of the batch after
# a warm-up of its own, takes over after a tenth of the steps.


# %%
METHODS = {
    "layer": kn.layers.LayerNormalization,
    "RMS": kn.layers.RMSNormalization,
    "scale only": kn.layers.ScaleOnlyBatchNormalization,
    "power": lambda: kn.layers.PowerNormalization(warmup_steps=STEPS // 10),
}


def attention(h, k):
    """What each character takes from those before it."""
    layer = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
    return layer(h, h, use_causal_mask=True)


def dense(h, k):
    """Two dense layers, the second of which gets its name from the block."""
    h = keras.layers.Dense(4 * WIDTH, activation="relu")(h)
    return keras.layers.Dense(WIDTH, name=f"block_{k + 1}")(h)


def model_of(method, order, seed):
    """From characters to the logits of the next ones."""
    keras.utils.set_random_seed(seed)
    normalization = METHODS[method]
    characters = keras.Input((LENGTH,), dtype="int32")
    places = ops.cumsum(ops.ones_like(characters), axis=-1) - 1
    h = keras.layers.Embedding(len(alphabet), WIDTH)(characters)
    h = h + keras.layers.Embedding(LENGTH, WIDTH)(places)
    if order == "post":
        h = normalization()(h)
    for k in range(BLOCKS):
        for part in (attention, dense):
            if order == "pre":
                h = h + part(normalization()(h), k)
            else:
                h = normalization()(h + part(h, k))
    if order == "pre":
        h = normalization()(h)
    return keras.Model(characters, keras.layers.Dense(len(alphabet))(h))


def warmed_up(epoch, rate):
    """The learning rate of each epoch."""
    return RATE * (*WARM_UP, 1.0)[min(epoch, len(WARM_UP))]


def constant(epoch, rate):
    """The same from the start."""
    return RATE


# %% [markdown]
# ## Gradients by block
#
# `analysis.signal_propagation` gives the mean square of what leaves a layer and
# of the gradient that comes back to it. Its root, for the second dense layer of
# each block: all of them get inputs of one size at initialization, behind a
# normalization and a dense layer, so that the gradients of their kernels
# go with those that come back.


# %%
def gradients(model):
    """(blocks,), root mean square of the gradient at each block's last layer.

    On the first pieces to learn from, as in a training step.
    """
    found = kn.analysis.signal_propagation(
        model,
        train_x[:BATCH],
        train_y[:BATCH],
        LOSS,
        layers=[f"block_{k + 1}" for k in range(BLOCKS)],
    )
    return np.sqrt([entry.gradient_mean_square for entry in found])


def learn(model, method, order, schedule):
    """Losses on the test pieces and gradients, one row for each seed.

    One model learns for all seeds, which saves compiling it again: it gets the
    weights of a fresh one, and its optimizer forgets what it has seen.
    """
    losses, before, after = [], [], []
    for seed in SEEDS:
        model.set_weights(model_of(method, order, seed).get_weights())
        for variable in model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        before.append(gradients(model))
        history = model.fit(
            train_x,
            train_y,
            batch_size=BATCH,
            epochs=EPOCHS,
            validation_data=(test_x, test_y),
            validation_batch_size=len(test_x),
            callbacks=[keras.callbacks.LearningRateScheduler(schedule)],
            verbose=0,
        )
        losses.append(history.history["val_loss"])
        after.append(gradients(model))
    return np.array(losses), np.array(before), np.array(after)


# %% [markdown]
# ## All of it
#
# The learning rate is the same from the first step; the one with a warm-up, the
# first transformers' way, is there for comparison.

# %%
CASES = [(method, order) for method in METHODS for order in ("pre", "post")]
if QUICK:
    CASES = [("layer", "post"), ("power", "pre")]
results = {}
for method, order in CASES:
    model = model_of(method, order, 0)
    model.compile(
        keras.optimizers.Adam(RATE),
        LOSS,
        jit_compile=JIT,
        run_eagerly=JIT is False,
    )
    schedules = {method: constant}
    if (method, order) == ("layer", "post"):
        schedules["layer, warm-up"] = warmed_up
    for name, schedule in schedules.items():
        start = time.monotonic()
        losses, before, after = learn(model, method, order, schedule)
        results[name, order] = losses, before, after
        last = losses[:, -1]
        print(
            f"{order:4} {name:14} loss {last.mean():.2f} ({last.min():.2f} to "
            f"{last.max():.2f}), {time.monotonic() - start:.0f} s"
        )
        for title, found in (("before", before), ("after", after)):
            sizes = " ".join(f"{1e3 * v:.2f}" for v in found.mean(0))
            share = (found[:, 0] / found[:, -1]).mean()
            print(f"     gradients {title:6} {sizes} (1e-3), ratio {share:.2f}")

# %%
COLORS = dict(zip(METHODS, ("C0", "C1", "C2", "C3"), strict=True))


def style(name):
    """One color for each method; dashed with a warm-up."""
    method, *warm = name.split(", ")
    return {"color": COLORS[method], "linestyle": "--" if warm else "-"}


def draw(ax, steps, runs, name):
    """The mean over the seeds, and the range between the extremes."""
    ax.plot(steps, runs.mean(0), label=name, **style(name))
    color = style(name)["color"]
    ax.fill_between(steps, runs.min(0), runs.max(0), color=color, alpha=0.15)


figure, axes = plt.subplots(
    1, 2, figsize=(8, 3.6), sharey=True, layout="constrained"
)
for ax, order in zip(axes, ("pre", "post"), strict=True):
    for (name, place), (losses, _, _) in results.items():
        if place == order:
            draw(ax, np.arange(1, EPOCHS + 1), losses, name)
    ax.axhline(FREQUENCIES, color="gray", linestyle=":", label="frequencies")
    ax.set(xlabel="epoch", title=f"{order}-normalized")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
axes[0].set_ylabel("loss on the test pieces")
keep(figure, "14_transformer_text.png")

# %%
figure, axes = plt.subplots(
    2, 2, figsize=(8, 5.6), sharex=True, sharey="row", layout="constrained"
)
for row, when in zip(axes, (1, 2), strict=True):
    for ax, order in zip(row, ("pre", "post"), strict=True):
        for (name, place), found in results.items():
            if place == order:
                draw(ax, np.arange(1, BLOCKS + 1), found[when], name)
        title = "at initialization" if when == 1 else "after training"
        ax.set(yscale="log", title=f"{order}-normalized, {title}")
        ax.grid(alpha=0.3)
    row[0].set_ylabel("RMS of gradients")
for ax in axes[1]:
    ax.set(xlabel="block")
    ax.legend(fontsize="small")
keep(figure, "14_transformer_text_gradients.png")

# %% [markdown]
# ![Loss by epoch](14_transformer_text.png)
#
# ![Gradients by block](14_transformer_text_gradients.png)
#
# TODO
