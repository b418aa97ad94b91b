# %% [markdown]
# # Digits read pixel by pixel: normalization inside the time loop
#
# A recurrent network applies the same kernel again and again. Over 64 steps
# small deviations from a good scale become large, and a gradient that has to
# come back through all of them fades or explodes. An image read as a sequence
# of its pixels makes that visible: what the first pixels showed must survive
# until the last.
#
# Here scikit-learn's handwritten digits, 8x8 pixels, are sequences of 64
# numbers. Four LSTMs of the same size read them:
#
# * Keras' own LSTM;
# * `LayerNormalizedLSTM`: each sample at each time step by itself;
# * `BatchNormalizedLSTM`: over the batch, with statistics of every time step;
# * Keras' LSTM in `WeightNormalization`: length and direction of its kernels
#   are learned apart.
#
# Then a plain recurrent network without any gate, which lives by its recurrent
# kernel alone, gets an orthogonal one, which changes no length: kept orthogonal
# by the optimizer (`CayleySGD`), or by construction
# (`OrthogonalParametrization`).

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

# The short run reads rows instead of pixels, once, and writes no picture.
QUICK = "--quick" in sys.argv
HERE = Path(__file__).parent if "__file__" in globals() else Path.cwd()
SEEDS = range(1 if QUICK else 3)
STEPS = 8 if QUICK else 64
EPOCHS = 1 if QUICK else 30
UNITS = 8 if QUICK else 32
BATCH_SIZE = 64
# Compiling a loop takes longer than one short epoch, except where there is no
# other way.
JIT = False if QUICK and keras.backend.backend() != "jax" else "auto"


def keep(figure, name):
    """Writes a picture beside this file."""
    figure.savefig(io.BytesIO() if QUICK else HERE / name, dpi=90)


# %%
images, labels = load_digits(return_X_y=True)
sequences = (images / 16.0).astype("float32").reshape(len(images), STEPS, -1)
train_x, test_x, train_y, test_y = train_test_split(
    sequences, labels, test_size=0.25, stratify=labels, random_state=0
)
if QUICK:
    train_x, train_y = train_x[:128], train_y[:128]
print(f"{len(train_x)} sequences to learn from, {len(test_x)} to be tested on")
print(f"of {STEPS} time steps of {train_x.shape[-1]} numbers")


# %% [markdown]
# ## Four LSTMs
#
# The layers take the arguments of `keras.layers.LSTM`; a model needs no other
# change. `BatchNormalizedLSTM` keeps moving averages for as many time steps as
# the sequences have (give `max_time_steps` where that is unknown).


# %%
def model_of(layer, seed):
    """A reader, and a layer of ten classes."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(sequences.shape[1:]),
            layer(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def learn(model, optimizer, callbacks=()):
    """Fits; returns the test accuracy after every epoch."""
    model.compile(
        optimizer,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=JIT,
    )
    history = model.fit(
        train_x,
        train_y,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        validation_data=(test_x, test_y),
        callbacks=list(callbacks),
        verbose=0,
    )
    return history.history["val_accuracy"]


def adam():
    """Adam, its learning rate falling to 0."""
    steps = EPOCHS * -(-len(train_x) // BATCH_SIZE)
    return keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(1e-2, steps)
    )


READERS = {
    "LSTM": lambda: keras.layers.LSTM(UNITS, use_cudnn=False),
    "layer-normalized": lambda: kn.layers.LayerNormalizedLSTM(UNITS),
    "batch-normalized": lambda: kn.layers.BatchNormalizedLSTM(UNITS),
    "weight-normalized": lambda: kn.layers.WeightNormalization(
        keras.layers.LSTM(UNITS, use_cudnn=False)
    ),
}

curves = {}
for name, layer in READERS.items():
    start = time.monotonic()
    curves[name] = np.array([learn(model_of(layer, s), adam()) for s in SEEDS])
    last = curves[name][:, -1]
    print(
        f"{name:18} accuracy {last.mean():.3f} (from {last.min():.3f} to "
        f"{last.max():.3f}), {time.monotonic() - start:.0f} s"
    )


# %%
def draw(axes, curves):
    """Means over the seeds, and the range between the worst and the best."""
    for name, runs in curves.items():
        epochs = np.arange(1, runs.shape[1] + 1)
        (line,) = axes.plot(epochs, runs.mean(0), label=name)
        axes.fill_between(
            epochs, runs.min(0), runs.max(0), alpha=0.15, color=line.get_color()
        )
    axes.set(xlabel="epoch", ylabel="accuracy on unseen digits", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
draw(axes, curves)
axes.set_title(f"Digits as {STEPS} time steps")
keep(figure, "05_digits_as_sequences_lstm.png")

# %% [markdown]
# ![Accuracy of four LSTMs](05_digits_as_sequences_lstm.png)
#
# All four learn to read, and on a task as small as this none of the
# normalizations is ahead of the plain LSTM in the end: its gates were made for
# such distances. Batch normalization jumps from epoch to epoch: what it shows
# on unseen digits is computed with moving averages of 64 time steps, and what
# one of them is off by goes on to all that follow. (The last batch of an epoch,
# three sequences here, makes up a tenth of each average. Leave such batches
# out, or raise `momentum`, where that matters.)
#
# ## An orthogonal recurrent kernel
#
# A plain recurrent network, h = tanh(W x + U h + b), has no gate that could
# carry something on unchanged; U has to. If U is orthogonal it keeps the length
# of every vector. Two ways to have it so:
#
# * `CayleySGD` moves U along the orthogonal matrices, and takes ordinary steps
#   for everything else. The model is a plain Keras model.
# * `OrthogonalParametrization` makes U from a free matrix at every call; any
#   optimizer will do, here SGD as well.
#
# The learning rate is the same for all three, and so are the seeds and, since
# Keras' recurrent initializer is an orthogonal matrix, where they start.


# %%
def plain():
    """Keras' recurrent network without gates."""
    return keras.layers.SimpleRNN(UNITS)


def parametrized():
    """The same with an orthogonal matrix by construction."""
    return kn.layers.OrthogonalParametrization(
        plain(), targets=["recurrent_kernel"]
    )


def sgd():
    """The optimizer of the other two."""
    return keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=1.0)


def cayley():
    """The same, with the recurrent kernel kept orthogonal."""
    return kn.optimizers.CayleySGD(
        0.05, momentum=0.9, clipnorm=1.0, where="recurrent_kernel"
    )


class Deviation(keras.callbacks.Callback):
    """How far the recurrent kernel is from orthogonal, after every epoch."""

    def on_train_begin(self, logs=None):
        self.found = []

    def on_epoch_end(self, epoch, logs=None):
        reader = self.model.layers[0]
        if isinstance(reader, kn.layers.OrthogonalParametrization):
            u = reader.effective_kernel("recurrent_kernel")
        else:
            u = reader.cell.recurrent_kernel
        u = keras.ops.convert_to_numpy(u).astype("float64")
        self.found.append(np.abs(u.T @ u - np.eye(len(u))).max())


WAYS = {
    "SGD": (plain, sgd),
    "CayleySGD": (plain, cayley),
    "OrthogonalParametrization": (parametrized, sgd),
}
orthogonal, deviations = {}, {}
for name, (layer, optimizer) in WAYS.items():
    runs, found = [], []
    start = time.monotonic()
    for seed in SEEDS:
        deviation = Deviation()
        runs.append(learn(model_of(layer, seed), optimizer(), [deviation]))
        found.append(deviation.found)
    orthogonal[name], deviations[name] = np.array(runs), np.array(found)
    last = orthogonal[name][:, -1]
    print(
        f"{name:26} accuracy {last.mean():.3f} (from {last.min():.3f} to "
        f"{last.max():.3f}), U^T U - I up to {deviations[name].max():.1e}, "
        f"{time.monotonic() - start:.0f} s"
    )

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
draw(left, orthogonal)
left.set_title("A recurrent network without gates")
for name, found in deviations.items():
    right.semilogy(np.arange(1, EPOCHS + 1), found.max(0), label=name)
right.set(xlabel="epoch", title="largest entry of |$U^TU$ - I|")
right.grid(alpha=0.3)
right.legend()
keep(figure, "05_digits_as_sequences_orthogonal.png")

# %% [markdown]
# ![Orthogonal recurrent kernels](05_digits_as_sequences_orthogonal.png)
#
# Without a constraint U leaves the orthogonal matrices within the first epoch,
# and the longer it trains the worse it reads. Both others stay on them to the
# accuracy of float32, and read better from about the tenth epoch on; between
# the two ways the seeds make more of a difference than the way.
