"""Functions of the analysis chapter: what each gives for a row's inputs."""

import keras
import numpy as np

import keras_norm as kn

STEP = 1e-6


def self_normalizing_map(row, dtype):
    """The map of what has no variance is the activation itself."""

    def activation(x):
        found = kn.analysis.self_normalizing_map(
            x,
            0.0,
            omega=1.0,
            alpha=row.config["alpha"],
            scale=row.config["scale"],
        )
        return found.mean

    x, dy = (row.arrays[name].astype("float64") for name in ("x", "dy"))
    slope = (activation(x + STEP) - activation(x - STEP)) / (2 * STEP)
    return {"y": activation(x), "dx": slope * dy}


def spectral_normalization(row, dtype):
    """Of the convolution itself, and of the kernel as a matrix."""
    kernel, config = row.arrays["kernel"], row.config
    size = tuple(config["input_size"])
    outputs = kernel.shape[-1]
    wrapper = kn.layers.SpectralNormalization(
        keras.layers.Conv2D(outputs, kernel.shape[:2], dtype=dtype),
        power_iterations=100,
    )
    wrapper.build((None, *size, kernel.shape[-2]))
    wrapper.layer.kernel.assign(kernel)
    (w,) = wrapper.effective_kernels(training=True).values()
    w = keras.ops.convert_to_numpy(w)
    return {
        "sv": kn.analysis.convolution_singular_values(kernel, size),
        "clipped": kn.analysis.clip_convolution(
            kernel, size, config["clip_to"]
        ),
        # What the kernel was divided by.
        "sigma_reshape": np.sum(kernel * kernel) / np.sum(kernel * w),
    }


FUNCTIONS = {
    "analysis.self_normalizing_map": self_normalizing_map,
    "SpectralNormalization": spectral_normalization,
}
