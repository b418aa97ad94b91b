"""Trains one small convolutional network with several normalizations.

The data are scikit-learn's handwritten digits (8x8 pixels, no download). All
networks start from the same seed and make the same steps, and differ in the
normalization layers only. Prints a table and writes to quickstart_output/

* learning_curves.png,
* best_model.keras: the best of the normalized networks,
* saved_model: the same as a TensorFlow SavedModel, which is then asked for a
  few digits in a process that does not have keras_norm.
"""

import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras
import matplotlib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_norm as kn

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "quickstart_output"
SEED = 0
EPOCHS = 12
BATCH_SIZE = 64
# What two programs that compute the same in float32 may differ by.
TOLERANCE = 1e-5

NORMALIZATIONS = {
    "none": lambda: keras.layers.Identity(),
    "batch": lambda: kn.layers.BatchNormalization(momentum=0.9),
    "group": lambda: kn.layers.GroupNormalization(groups=4),
    "switchable": lambda: kn.layers.SwitchableNormalization(),
    "iterative": lambda: kn.layers.IterativeNormalization(group_size=8),
}


def main():
    OUTPUT.mkdir(exist_ok=True)
    data = digits()
    results = {}
    for number, name in enumerate(NORMALIZATIONS, start=1):
        title = f"{name} normalization ({number} of {len(NORMALIZATIONS)})"
        print(f"\n=== {title}", flush=True)
        results[name] = train(name, *data)
    print_table(results)
    plot(results, OUTPUT / "learning_curves.png")

    best = max(
        (name for name in results if name != "none"),
        key=lambda name: (
            results[name]["val_accuracy"][-1],
            -results[name]["val_loss"][-1],
        ),
    )
    _, _, images, labels = data
    save(best, results[best]["model"], images[:8], labels[:8])


def digits():
    """Returns training images and labels, validation images and labels."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype("float32").reshape(-1, 8, 8, 1)
    x, x_validation, y, y_validation = train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=SEED
    )
    return x, y, x_validation, y_validation


def network(normalization):
    """Returns three convolutions, each normalized, and a classifier."""
    inputs = outputs = keras.Input((8, 8, 1))
    for filters in (16, 32, 32):
        outputs = keras.layers.Conv2D(filters, 3, padding="same")(outputs)
        outputs = normalization()(outputs)
        outputs = keras.layers.ReLU()(outputs)
    outputs = keras.layers.GlobalAveragePooling2D()(outputs)
    outputs = keras.layers.Dense(10, activation="softmax")(outputs)
    return keras.Model(inputs, outputs)


class StepTime(keras.callbacks.Callback):
    """Measures the seconds per training step, epoch by epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()
        self.steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_test_begin(self, logs=None):  # The validation ends the epoch.
        self.seconds.append((time.perf_counter() - self.start) / self.steps)


def train(name, x, y, x_validation, y_validation):
    """Trains one network and returns its history, step time and model."""
    keras.utils.set_random_seed(SEED)
    model = network(NORMALIZATIONS[name])
    steps = EPOCHS * -(-len(x) // BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(0.05, steps)
    model.compile(
        optimizer=keras.optimizers.SGD(rate, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    step_time = StepTime()
    history = model.fit(
        x,
        y,
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        validation_data=(x_validation, y_validation),
        callbacks=[step_time],
        # A progress bar in a log file would fill it with control characters.
        verbose=1 if sys.stdout.isatty() else 2,
    )
    return {
        **history.history,
        # Compilation makes the first epoch longer.
        "step_seconds": float(np.median(step_time.seconds[1:])),
        "model": model,
    }


def print_table(results):
    print(
        f"\nAfter {EPOCHS} epochs on {keras.backend.backend()}:\n\n"
        "normalization   validation accuracy   validation loss   ms per step"
    )
    for name, result in results.items():
        print(
            f"{name:13}{result['val_accuracy'][-1]:>22.4f}"
            f"{result['val_loss'][-1]:>18.4f}"
            f"{1e3 * result['step_seconds']:>14.1f}"
        )


def plot(results, path):
    """Draws the learning curves."""
    # Okabe and Ito's colors, which the color-blind can tell apart; the dashes
    # serve print in gray.
    colors = ["#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7"]
    styles = [":", "-", "--", "-.", (0, (5, 1, 1, 1, 1, 1))]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    panels = {"loss": "training loss", "val_accuracy": "validation accuracy"}
    for axis, (quantity, title) in zip(axes, panels.items(), strict=True):
        for (name, result), color, style in zip(
            results.items(), colors, styles, strict=True
        ):
            epochs = range(1, len(result[quantity]) + 1)
            axis.plot(
                epochs,
                result[quantity],
                color=color,
                linestyle=style,
                linewidth=2,
                label=name,
            )
        axis.set_title(title)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    axes[0].set_yscale("log")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        ncols=5,
        loc="outside lower center",
    )
    figure.suptitle(
        "Handwritten digits, one network, five normalizations "
        f"({keras.backend.backend()})"
    )
    figure.savefig(path, dpi=150)
    print(f"\nLearning curves: {shown(path)}")


def save(name, model, images, labels):
    """Saves the model, exports it where possible, and checks both."""
    path = OUTPUT / "best_model.keras"
    model.save(path)
    expected = model.predict(images, verbose=0)
    reloaded = keras.saving.load_model(path)
    difference = np.abs(reloaded.predict(images, verbose=0) - expected).max()
    print(
        f"Best normalized model ({name}): {shown(path)}; reloaded, its "
        f"answers differ by {difference:.1e}"
    )
    if difference > TOLERANCE:
        sys.exit("The reloaded model does not give the same answers.")

    export = OUTPUT / "saved_model"
    shutil.rmtree(export, ignore_errors=True)  # Of an earlier run.
    obstacle = why_no_export()
    if obstacle:
        print(
            f"Not exported: {obstacle}\nThe route to TensorFlow Serving is to "
            "load the model where TensorFlow is installed and export it "
            "there:\n\n"
            f'KERAS_BACKEND=tensorflow python -c "\n'
            "import keras, keras_norm\n"
            f"model = keras.saving.load_model('{shown(path)}', compile=False)\n"
            f"model.export('{shown(export)}')\"\n"
        )
        return
    model.export(export, verbose=False)
    print(f"Exported for TensorFlow Serving: {shown(export)}\n", flush=True)
    serve(export, images, labels, expected)


def why_no_export():
    """Returns why this backend cannot write a SavedModel, or `None`."""
    backend = keras.backend.backend()
    if backend == "torch":
        return "Keras writes no SavedModel from PyTorch."
    if backend == "jax" and not importlib.util.find_spec("tensorflow"):
        return (
            "Keras writes a SavedModel from JAX through TensorFlow, which is "
            "not installed here."
        )
    return None


def serve(export, images, labels, expected):
    """Compares the answers of the SavedModel, elsewhere, with Keras'."""
    request, response = OUTPUT / "request.npy", OUTPUT / "response.npy"
    np.save(request, images)
    program = Path(__file__).with_name("quickstart_serve.py")
    # -I: nothing of this directory or of the environment gets in.
    # TensorFlow greets on stderr, which matters only when something is wrong.
    process = subprocess.run(
        [sys.executable, "-I", program, export, request, response],
        stderr=subprocess.PIPE,
        text=True,
    )
    if process.returncode != 0:
        sys.exit(process.stderr)
    answers = np.load(response)
    for label, answer in zip(labels, answers, strict=True):
        print(
            f"  a {label} is taken for a {answer.argmax()} "
            f"(probability {answer.max():.3f})"
        )
    difference = np.abs(answers - expected).max()
    print(f"The answers differ from Keras' by at most {difference:.1e}.")
    if difference > TOLERANCE:
        sys.exit("The SavedModel does not give the answers that Keras gives.")


def shown(path):
    """Returns a path as the user would type it in the repository."""
    return path.relative_to(ROOT)


if __name__ == "__main__":
    main()
