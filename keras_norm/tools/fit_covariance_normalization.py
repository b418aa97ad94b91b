"""The covariance normalization that does what a trained adapter does.

Li & Vasconcelos, CVPR 2019.
"""

import keras
import numpy as np

from keras_norm import errors
from keras_norm.layers.domain.covariance_normalization import (
    CovarianceNormalization,
)
from keras_norm.models.layer_calls import assign
from keras_norm.models.layer_calls import host

# Of the largest eigenvalue.
FLOOR = 1e-6
# Rows of data in float64 at a time.
ROWS = 65536


def fit_covariance_normalization(
    x, z, adapter, explained: float = 0.99, axis: int = -1, **options
) -> CovarianceNormalization:
    """A `CovarianceNormalization` in the place of a trained adapter z = A x.

    With the eigenvectors P and eigenvalues E of the covariances of x and z,
    the leading ones of each that explain the share `explained` of the
    variance:

        W = E_x^(-1/2) P_x^T,    C = P_z E_z^(1/2),    M = C^+ A W^+.

    The layer computes C M W (x - mean_x) + mean_z. It is A itself where all
    components are kept, and else what is left of it; train its `kernel`, M,
    for a few epochs.

    Args:
        x: inputs of the adapter, an array of rank at least 2.
        z: its outputs for these inputs; None: A x.
        adapter: A as a kernel (channels, units), as an array or in a built
            Dense layer or a convolution of kernel size 1.
        explained: share of the variance, in (0, 1].
        axis: channel axis of x, z and the layer.
        **options: of the layer, as `name` or `kernel_regularizer`.

    Returns:
        The layer, built.

    Raises:
        ValueError: a share outside (0, 1]; an adapter without such a kernel;
            shapes that do not match; data without variance.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_norm as kn
    >>> x = np.random.normal(size=(64, 4, 4, 8)).astype("float32")
    >>> adapter = np.random.normal(size=(8, 8)).astype("float32")
    >>> layer = kn.tools.fit_covariance_normalization(
    ...     x, x @ adapter, adapter, explained=1.0)
    >>> y = keras.ops.convert_to_numpy(layer(x))
    >>> bool(np.abs(y - x @ adapter).max() < 1e-3)
    True

    Reference:

    - Li & Vasconcelos, Efficient Multi-Domain Learning by Covariance
      Normalization, CVPR 2019

    Note: eigenvalues below 1e-6 of the largest are taken for that.
    """
    if not isinstance(explained, (int, float)) or not 0 < explained <= 1:
        raise errors.received(
            "`explained` is a share of the variance and must lie in (0, 1].",
            explained=explained,
        )
    kernel, bias = affine_map(adapter)
    channels, units = kernel.shape
    x = array(x)
    mean_x, covariance_x = covariance_of("x", x, channels, axis)
    if z is None:
        mean_z = mean_x @ kernel + bias
        covariance_z = kernel.T @ covariance_x @ kernel
    else:
        z = array(z)
        mean_z, covariance_z = covariance_of("z", z, units, axis)
    vectors_x, roots_x = components("x", covariance_x, explained)
    vectors_z, roots_z = components("z", covariance_z, explained)
    layer = CovarianceNormalization(
        units=units,
        input_components=len(roots_x),
        output_components=len(roots_z),
        axis=axis,
        **options,
    )
    layer.build(tuple(x.shape))
    # Kernels multiply from the right: all is transposed.
    found = {
        "input_mean": mean_x,
        "whitening": vectors_x / roots_x,
        "coloring": (vectors_z * roots_z).T,
        "output_mean": mean_z,
        "kernel": (roots_x[:, None] * vectors_x.T)
        @ kernel
        @ (vectors_z / roots_z),
    }
    for name, value in found.items():
        assign(getattr(layer, name), value)
    return layer


def array(data):
    """Arrays as they are, tensors and variables as float64."""
    return data if isinstance(data, np.ndarray) else host(data)


def affine_map(adapter):
    """(kernel (channels, units), bias) in float64."""
    bias = 0.0
    kernel = adapter
    if isinstance(adapter, keras.layers.Layer):
        kernel = getattr(adapter, "kernel", None)
        if getattr(adapter, "bias", None) is not None:
            bias = array(adapter.bias).astype("float64")
    if kernel is not None:
        kernel = array(kernel).astype("float64")
        while kernel.ndim > 2 and kernel.shape[0] == 1:
            kernel = kernel[0]
    if kernel is None or kernel.ndim != 2:
        raise errors.received(
            "`adapter` must be a kernel (channels, units), or a built layer "
            "that multiplies each position by one.",
            adapter=getattr(kernel, "shape", adapter),
        )
    return kernel, bias


def covariance_of(name, data, channels, axis):
    """(mean, covariance) over all but the channel axis, in float64."""
    inside = data.ndim >= 2 and -data.ndim <= axis < data.ndim
    if not inside or data.shape[axis] != channels:
        raise errors.received(
            f"`{name}` must have {channels} channels at `axis`, as the "
            "adapter has.",
            axis=axis,
            **{f"{name}_shape": data.shape},
        )
    data = np.moveaxis(data, axis, -1).reshape(-1, channels)
    mean = data.mean(axis=0, dtype="float64")
    total = np.zeros((channels, channels))
    for start in range(0, len(data), ROWS):
        rows = data[start : start + ROWS] - mean
        total += rows.T @ rows
    return mean, total / max(len(data), 1)


def components(name, covariance, explained):
    """Leading eigenvectors, in columns, and roots of their eigenvalues."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    if not values[0] > 0:
        raise errors.received(
            f"`{name}` must vary: its covariance is 0.",
            largest_variance=float(values[0]),
        )
    size = len(values)
    if explained < 1:
        shares = np.cumsum(values) / np.sum(values)
        size = min(int(np.searchsorted(shares, explained)) + 1, size)
    values = np.maximum(values[:size], FLOOR * values[0])
    return vectors[:, :size], np.sqrt(values)
