# %% [markdown]
# # Where a transformer is normalized
#
# A transformer adds to its signal what attention and two dense layers make of
# it, block after block. Normalization can stand after each sum, as in the first
# transformers ("post"), or before each part, which leaves the sum alone
# ("pre"). Xiong et al. (2020, https://arxiv.org/abs/2002.04745) explain why the
# first kind is hard to train without a warm-up of the learning rate: at
# initialization the gradients of its last block are as large with many blocks
# as with few, while those of the second kind fall with the square root of their
# number.
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

# The short run trains one model of one block a little, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SEEDS = range(1 if QUICK else 3)
EPOCHS = 1 if QUICK else 6
CHARACTERS = 1000 if QUICK else 25000
BLOCKS = 1 if QUICK else 6
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
# each block: what its kernel's gradient is made of. The inputs it is multiplied
# by are of about one size in all blocks at initialization, behind a
# normalization and a dense layer.


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
WARMED = ("power" if QUICK else "layer", "post")
CASES = [(method, order) for method in METHODS for order in ("pre", "post")]
if QUICK:
    CASES = [WARMED]
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
    if (method, order) == WARMED:
        schedules[f"{method}, warm-up"] = warmed_up
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
            share = found[:, 0] / found[:, -1]
            print(
                f"     gradients {title:6} {sizes} (1e-3), first / last from "
                f"{share.min():.3f} to {share.max():.3f}"
            )

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
    ax.set_xlabel("block")
axes[1, 1].legend(fontsize="small")
keep(figure, "14_transformer_text_gradients.png")

# %% [markdown]
# ![Loss by epoch](14_transformer_text.png)
#
# ![Gradients by block](14_transformer_text_gradients.png)
#
# Means of three seeds, and the range between the extremes, of one learning rate
# and 258 steps; the loss is still falling. Frequencies give 3.32. (The text is
# the README of the day these numbers are of; with another one they move.)
#
# * Pre-normalized, it matters little what normalizes: the last losses are 2.57
#   with layer normalization, 2.60 with RMS, 2.64 with power and 2.65 with
#   scale-only normalization. The seeds of the first two overlap, and those of
#   the last two.
# * Post-normalized, layer and RMS normalization have learned the frequencies
#   after an epoch, and know no more after four. They end at 3.23 (3.08 to 3.33)
#   and 3.11 (3.00 to 3.25). With a warm-up of two epochs layer normalization
#   comes to 2.61 (2.60 to 2.62), which is nearly what it reaches before the
#   parts, without a warm-up. So far all is as Xiong et al. write.
# * So are the gradients of the last block at initialization: post-normalized
#   they are about twice those of pre-normalized blocks (1.7 to 2.2 times, over
#   all methods and seeds; the square root of six blocks is 2.4).
# * But that alone does not tell who learns. Scale-only and power normalization
#   have as large ones (3.75e-3 and 3.85e-3 as against 3.54e-3 with layer
#   normalization), and post-normalized learn at once without a warm-up: 2.72
#   (2.68 to 2.78) and 2.84 (2.71 to 3.06), though not as far as before the
#   parts. Both have a divisor that the characters of a batch share; whether
#   that is what helps, this does not show.
# * Pre-normalized gradients are not of one size: at initialization the first
#   block's are 3 to 6 times the last's, more than in post-normalized models
#   (1.2 to 3.1). After training it is 1.6 to 2.3 times.
# * Where training fails, gradients may vanish: of the three post-normalized
#   models with layer normalization, one ends with 6e-6 in the first block and
#   1e-3 in the last, and at the loss of the frequencies. After a warm-up they
#   are of one size in all blocks.
#
# Scale-only and power normalization average over all places of a piece, those
# to come included. That is in training only: in the test, moving averages are
# used, and no character sees a later one.
