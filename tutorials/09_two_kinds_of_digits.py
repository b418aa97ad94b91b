# %% [markdown]
# # One network for two kinds of images
#
# White digits on black, and faint digits with noise, in one training set. Batch
# normalization mixes their statistics, and at inference has only the mixture.
# Domain-specific batch normalization keeps apart what belongs to each domain:
# mean and variance, gamma and beta. All convolutions are shared.
#
# In the second half the labels of one domain are hidden. Layers that know of
# domains help there too: each domain is normalized by its own statistics, so
# that the network sees similar numbers in both.

# %%
import io
import sys
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_norm as kn

# The short run trains little, once, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SEEDS = range(1 if QUICK else 3)
EPOCHS = 1 if QUICK else 40
# Compiling takes longer than a short run, except where there is no other way.
JIT = False if QUICK and keras.backend.backend() != "jax" else "auto"
BATCH = 64


def keep(figure, name):
    """Writes a picture beside this file."""
    figure.savefig(io.BytesIO() if QUICK else HERE / name, dpi=90)


# %%
images, labels = load_digits(return_X_y=True)
images = (images / 16.0).astype("float32").reshape(-1, 8, 8, 1)
train_x, test_x, train_y, test_y = train_test_split(
    images, labels, test_size=0.5, stratify=labels, random_state=0
)
if QUICK:
    train_x, train_y = train_x[:256], train_y[:256]


def faint(x, seed):
    """Grey on grey, with noise."""
    noise = np.random.default_rng(seed).normal(0.0, 0.06, x.shape)
    return (0.4 + 0.3 * x + noise).astype("float32")


# A batch is half of the one, half of the other domain, in this order.
half = BATCH // 2
count = len(train_x) // BATCH * half


def pairs(a, b):
    """Halves of batches, by turns."""
    a = a[:count].reshape(-1, half, *a.shape[1:])
    b = b[-count:].reshape(-1, half, *b.shape[1:])
    return np.concatenate([a, b], 1).reshape(-1, *a.shape[2:])


x = pairs(train_x, faint(train_x, 0))
y = pairs(train_y, train_y)
domain = pairs(np.zeros(len(train_x), "int32"), np.ones(len(train_x), "int32"))
tests = [(test_x, 0), (faint(test_x, 1), 1)]


# %%
def shared():
    """One set of statistics."""
    layer = kn.layers.BatchNormalization(momentum=0.9)
    return lambda h, domain: layer(h)


def specific():
    """Statistics, gamma and beta for each domain."""
    return kn.layers.DomainSpecificBatchNormalization(num_domains=2)


def transferable():
    """Statistics for each, channels weighted by how alike they are."""
    return kn.layers.TransferableNormalization()


def aligned():
    """Statistics for each, mixed as far as a learned alpha says."""
    return kn.layers.DomainAlignmentNormalization(momentum=0.9)


def network(normalization, seed):
    """A small convolutional network with the layer at every place."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 1), name="image")
    domain = keras.Input((), dtype="int32", name="domain")
    h = image
    for filters, stride in ((16, 1), (32, 2), (32, 1)):
        h = keras.layers.Conv2D(filters, 3, stride, "same")(h)
        h = keras.layers.ReLU()(normalization()(h, domain))
    h = keras.layers.GlobalAveragePooling2D()(h)
    y = keras.layers.Dense(10, activation="softmax")(h)
    model = keras.Model([image, domain], y)
    model.compile(
        keras.optimizers.Adam(3e-3),
        "sparse_categorical_crossentropy",
        weighted_metrics=[],
        jit_compile=JIT,
    )
    return model


def accuracies(model):
    """Share of the test images that are read right, in each domain."""
    found = []
    for images, k in tests:
        domains = np.full(len(images), k, "int32")
        y = model.predict([images, domains], batch_size=256, verbose=0)
        found.append(float(np.mean(np.argmax(y, -1) == test_y)))
    return found


def run(normalization, seed, labelled):
    """Train with the labels of both domains, or of the first alone."""
    model = network(normalization, seed)
    weights = np.ones(len(x), "float32")
    if not labelled:
        weights[domain == 1] = 0.0
    model.fit(
        [x, domain],
        y,
        sample_weight=weights,
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
    )
    return accuracies(model)


WAYS = {
    "shared": shared,
    "domain-specific": specific,
    "transferable": transferable,
    "alignment": aligned,
}
results = {
    labelled: {
        name: np.array([run(way, seed, labelled) for seed in SEEDS])
        for name, way in WAYS.items()
    }
    for labelled in (True, False)
}
for labelled, found in results.items():
    print("labels of", "both" if labelled else "the first alone")
    for name, runs in found.items():
        first, second = runs.mean(0)
        print(f"  {name:16} first {first:.3f}, second {second:.3f}")

# %%
figure, axes = plt.subplots(
    1, 2, figsize=(8, 3.4), sharey=True, layout="constrained"
)
for ax, (labelled, found) in zip(axes, results.items(), strict=True):
    for k, title in enumerate(("first domain", "second domain")):
        runs = np.stack([r[:, k] for r in found.values()])
        mean = runs.mean(1)
        ax.bar(
            np.arange(len(WAYS)) + 0.4 * k - 0.2,
            mean,
            0.36,
            yerr=[mean - runs.min(1), runs.max(1) - mean],
            capsize=2,
            label=title,
        )
    ax.set_xticks(range(len(WAYS)), list(WAYS), rotation=20)
    ax.set_title("labels of both" if labelled else "labels of the first alone")
    ax.grid(axis="y", alpha=0.3)
axes[0].set(ylabel="accuracy", ylim=(0, 1))
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center")
keep(figure, "09_two_kinds_of_digits.png")

# %% [markdown]
# ![Accuracy in both domains](09_two_kinds_of_digits.png)
#
# Means of three seeds, with the range between the worst and the best.
#
# * With the labels of both domains every layer learns both; those that keep
#   statistics apart are one percentage point ahead of those that mix them.
# * With the labels of the first alone, the second is read by its own statistics
#   only. Shared ones leave it at 59 %; domain-specific and transferable
#   normalization reach 74 and 78 %, without a label and without a loss of
#   their own. In the first domain nothing changes.
# * Alignment lets training mix the domains as far as that helps the loss. Here,
#   with no loss for the unlabelled half (its paper adds the entropy of the
#   predictions), nothing tells it to, and it does no better than the shared
#   statistics.
