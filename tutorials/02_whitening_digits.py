# %% [markdown]
# # Whitening in a classifier: what it does to the numbers, and what it buys
#
# Batch normalization standardizes every channel by itself. Whitening also
# removes what the channels have in common: their covariance becomes the
# identity. In theory that should help: the loss is then curved alike in all
# directions, so that one learning rate suits them all. How curved unlike it is
# says the *condition number* of the covariance, its largest over its smallest
# eigenvalue.
#
# Here four normalizations take turns in one small convolutional network on
# scikit-learn's handwritten digits, several times each:
#
# * `BatchNormalization`, which does not whiten,
# * `DecorrelatedBatchNormalization` (ZCA), by eigenvalues,
# * `IterativeNormalization`, by five Newton steps, so only in part,
# * `SwitchableWhitening`, a learned mixture of whitening over the batch and
#   over each image.

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

# The short run trains once, on few images, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SEEDS = range(1 if QUICK else 5)
EPOCHS = 1 if QUICK else 10
BATCH_SIZE = 64
RATE = 0.2


def keep(figure, name):
    """Writes a picture beside this file."""
    figure.savefig(io.BytesIO() if QUICK else HERE / name, dpi=110)


# %% [markdown]
# ## Data and network
#
# 1797 images of 8x8 pixels, a third of them for validation. Three convolutions
# of 16 channels, each followed by a normalization and a ReLU. Groups of 16
# channels: all of them are whitened together. Plain gradient descent, since
# momentum and adaptive steps make up for part of a bad condition; the rate
# decays to zero along a cosine.

# %%
images, labels = load_digits(return_X_y=True)
images = (images / 16.0).astype("float32").reshape(-1, 8, 8, 1)
x, x_validation, y, y_validation = train_test_split(
    images, labels, test_size=1 / 3, stratify=labels, random_state=0
)
if QUICK:
    x, y = x[:128], y[:128]
    x_validation, y_validation = x_validation[:128], y_validation[:128]

GROUP = {"group_size": 16}
NORMALIZATIONS = {
    "batch": lambda: kn.layers.BatchNormalization(momentum=0.9),
    "decorrelated batch": lambda: kn.layers.DecorrelatedBatchNormalization(
        **GROUP
    ),
    "iterative": lambda: kn.layers.IterativeNormalization(**GROUP),
    "switchable whitening": lambda: kn.layers.SwitchableWhitening(
        **GROUP, momentum=0.9
    ),
}


def network(normalization):
    """Three convolutions, each normalized, and a classifier."""
    inputs = outputs = keras.Input((8, 8, 1))
    for i in range(3):
        outputs = keras.layers.Conv2D(16, 3, padding="same")(outputs)
        layer = normalization()
        layer.name = f"normalization_{i}"
        outputs = keras.layers.ReLU(name=f"relu_{i}")(layer(outputs))
    outputs = keras.layers.Flatten()(outputs)
    outputs = keras.layers.Dense(10, activation="softmax")(outputs)
    return keras.Model(inputs, outputs)


# %% [markdown]
# ## Condition numbers while it learns
#
# After every epoch the covariance of the 16 channels over a fixed set of 256
# training images, as the network sees them in training: of what leaves the
# second normalization, and of what the third convolution is given after the
# ReLU.


# %%
def condition(activations):
    """Largest over smallest eigenvalue of the covariance of the channels."""
    flat = keras.ops.convert_to_numpy(activations).reshape(-1, 16)
    values = np.linalg.eigvalsh(np.cov(flat.T.astype("float64")))
    return values[-1] / max(values[0], 1e-9 * values[-1])


def conditions(model):
    """Condition numbers behind the second normalization and its ReLU."""
    names = ("normalization_1", "relu_1")
    tensors = [model.get_layer(name).output for name in names]
    # As in training, but the moving averages are put back.
    before = [keras.ops.convert_to_numpy(v) for v in model.variables]
    activations = keras.Model(model.inputs, tensors)(x[:256], training=True)
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    return [condition(t) for t in activations]


# %% [markdown]
# ## Training
#
# The same seeds for all four, so that they start from the same convolutions and
# see the images in the same order.


# %%
def train(name, seed):
    """Accuracies and condition numbers, epoch by epoch."""
    keras.utils.set_random_seed(seed)
    model = network(NORMALIZATIONS[name])
    steps = EPOCHS * -(-len(x) // BATCH_SIZE)
    model.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(RATE, steps)
        ),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        # Four steps are not worth compiling, except on JAX.
        run_eagerly=QUICK and keras.backend.backend() != "jax",
    )
    found = {"loss": [], "val_accuracy": [], "conditions": [conditions(model)]}
    for _ in range(EPOCHS):
        history = model.fit(
            x,
            y,
            batch_size=BATCH_SIZE,
            validation_data=(x_validation, y_validation),
            verbose=0,
        ).history
        for key in ("loss", "val_accuracy"):
            found[key] += history[key]
        found["conditions"].append(conditions(model))
    return {key: np.array(values) for key, values in found.items()}


results = {}
for name in NORMALIZATIONS:
    start = time.perf_counter()
    runs = [train(name, seed) for seed in SEEDS]
    results[name] = {k: np.stack([r[k] for r in runs]) for k in runs[0]}
    seconds = (time.perf_counter() - start) / len(SEEDS)
    print(f"{name}: {len(SEEDS)} x {seconds:.1f} s", flush=True)

# %% [markdown]
# ## The numbers
#
# Means over the seeds and, for the accuracy, from the worst to the best.

# %%
print(
    f"\n{keras.backend.backend()}, {len(SEEDS)} seeds, {EPOCHS} epochs\n"
    f"{'':22}{'validation accuracy':^28}{'training loss':^20}"
    f"{'condition number':^24}\n"
    f"{'normalization':22}{'mean':>10}{'worst':>9}{'best':>9}"
    f"{'first':>10}{'last':>10}{'normalized':>12}{'after ReLU':>12}"
)
for name, found in results.items():
    accuracy = found["val_accuracy"][:, -1]
    normalized, activated = np.median(found["conditions"], axis=0)[-1]
    print(
        f"{name:22}{accuracy.mean():10.4f}{accuracy.min():9.4f}"
        f"{accuracy.max():9.4f}{found['loss'].mean(0)[0]:10.3f}"
        f"{found['loss'].mean(0)[-1]:10.4f}{normalized:12.1f}{activated:12.1f}"
    )

# %% [markdown]
# ## The curves
#
# Lines are means over the seeds (of the condition numbers the median), bands
# reach from the smallest to the largest.

# %%
# Okabe and Ito's colors, which the color-blind can tell apart.
COLORS = ["#000000", "#0072B2", "#D55E00", "#009E73"]
STYLES = ["-", "--", "-.", ":"]
epochs = np.arange(EPOCHS + 1)
figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
for (name, found), color, style in zip(
    results.items(), COLORS, STYLES, strict=True
):
    panels = [
        (found["loss"], np.mean, epochs[1:]),
        (found["val_accuracy"], np.mean, epochs[1:]),
        (found["conditions"][..., 0], np.median, epochs),
        (found["conditions"][..., 1], np.median, epochs),
    ]
    for axis, (values, middle, at) in zip(axes.flat, panels, strict=True):
        axis.plot(
            at,
            middle(values, axis=0),
            color=color,
            linestyle=style,
            linewidth=2,
            label=name,
        )
        low, high = values.min(axis=0), values.max(axis=0)
        axis.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
titles = {
    "training loss": "cross entropy (nats)",
    "validation accuracy": "fraction of images",
    "behind the second normalization": "condition number",
    "behind its ReLU: input of the next layer": "condition number",
}
for axis, (title, label) in zip(axes.flat, titles.items(), strict=True):
    axis.set(title=title, xlabel="epoch", ylabel=label, xticks=epochs)
    axis.grid(alpha=0.3, which="both")
axes[0, 0].set_yscale("log")
axes[0, 1].set_ylim(0.9, 1.0)
for axis in axes[1]:
    axis.set_yscale("log")
    axis.set_ylim(0.9, 70)
    axis.set_yticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axis.minorticks_off()
figure.legend(
    *axes[0, 0].get_legend_handles_labels(), ncols=4, loc="outside lower center"
)
figure.suptitle(f"Handwritten digits, {len(SEEDS)} seeds")
keep(figure, "02_whitening_digits.png")

# %% [markdown]
# ![Curves](02_whitening_digits.png)
#
# **Condition.** What leaves batch normalization has channels of equal variance,
# but a lot in common: a condition number of 20 at the start, of about 40 later.
# Eigenvalues whiten to 1 (at the start; what is missing is `epsilon`, and later
# gamma, which stretches the channels again). Five Newton steps stop half way,
# at 2, and so does the mixture, which uses them too. The ReLU behind it
# correlates the channels anew; the next layer sees 15 after batch
# normalization, 3 to 4 after whitening.
#
# **Training.** The loss falls faster with whitening, in every epoch and with
# every seed: what batch normalization has reached after ten epochs, the others
# have after about six. How well they whiten makes little difference to that; a
# condition number of 2 is as good as one of 1.
#
# **Accuracy.** In the end there is none to speak of. The means lie within half
# a percent, which is three of 599 images; the seeds of one method lie a whole
# percent apart. Nothing here says that whitening generalizes better.
#
# **Price.** The seconds printed above: a run with whitening takes up to three
# times as long on maps as small as these, where a covariance costs as much as a
# convolution. For this task batch normalization is the better bargain. Reach
# for whitening where a bad condition is what holds training back, and try the
# Newton steps first: they are the cheapest, and decompose nothing.
