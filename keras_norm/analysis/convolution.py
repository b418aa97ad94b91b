"""Singular values of a convolution itself, not of its reshaped kernel.

Sedghi, Gupta & Long, 2019, https://arxiv.org/abs/1805.10408
"""

import keras
import numpy as np

from keras_norm import errors


def convolution_singular_values(kernel, input_size) -> np.ndarray:
    """Singular values of a circular convolution of stride 1.

    At each frequency the convolution is one matrix of its inputs to its
    outputs: the Fourier transform of the kernel over as many positions as the
    input has. Their singular values are all those of the convolution.

    Args:
        kernel: of a Keras convolution, (*size, inputs, outputs).
        input_size: positions of the input along each axis, at least those of
            the kernel; one integer for all.

    Returns:
        float64 (*input_size, min(inputs, outputs)), at each frequency in
        descending order. `.max()` is the Lipschitz constant.

    Raises:
        ValueError: a kernel that is none, or larger than the input.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> kernel = np.full((3, 3, 1, 1), 1 / 9)
    >>> values = kn.analysis.convolution_singular_values(kernel, (8, 8))
    >>> print(values.shape, f"{values.max():.3f}")
    (8, 8, 1) 1.000

    Reference:

    - Sedghi, Gupta & Long, The Singular Values of Convolutional Layers, ICLR
      2019, https://arxiv.org/abs/1805.10408

    Note: with zeros around the data instead of circular padding no value is
    greater than the greatest for an input that is larger by the size of the
    kernel - 1. The largest value s of the kernel as a matrix (taps * inputs,
    outputs), which `SpectralNormalization` divides by, is a lower bound, and
    s times the root of the number of taps an upper one.
    """
    kernel, size = checked(kernel, input_size)
    return np.linalg.svd(spectrum(kernel, size), compute_uv=False)


def clip_convolution(kernel, input_size, bound: float) -> np.ndarray:
    """The kernel with singular values of its convolution cut off at `bound`.

    Transformed as by `convolution_singular_values`, cut, transformed back and
    cropped to its size, after which values may be a little above the bound
    again: that is why the paper clips every few training steps.

    Args:
        kernel: of a Keras convolution, (*size, inputs, outputs).
        input_size: positions of the input along each axis; one integer for
            all.
        bound: greatest singular value.

    Returns:
        float64, of the shape of `kernel`.

    Raises:
        ValueError: a kernel that is none, or larger than the input, a bound
            that is negative.

    Example:

    >>> import numpy as np
    >>> import keras_norm as kn
    >>> kernel = np.full((3, 3, 1, 1), 1.0)
    >>> clipped = kn.analysis.clip_convolution(kernel, (3, 3), 2.0)
    >>> values = kn.analysis.convolution_singular_values(clipped, (3, 3))
    >>> print(f"{values.max():.3f}")
    2.000

    Reference:

    - Sedghi, Gupta & Long, The Singular Values of Convolutional Layers, ICLR
      2019, https://arxiv.org/abs/1805.10408
    """
    if not bound >= 0:
        raise errors.received("`bound` must not be negative.", bound=bound)
    kernel, size = checked(kernel, input_size)
    u, values, v = np.linalg.svd(spectrum(kernel, size), full_matrices=False)
    clipped = (u * np.minimum(values, bound)[..., None, :]) @ v
    axes = range(len(size))
    clipped = np.real(np.fft.ifftn(clipped, axes=axes))
    return clipped[tuple(slice(n) for n in kernel.shape[:-2])]


def checked(kernel, input_size):
    """(kernel in float64, size as a tuple)."""
    kernel = keras.ops.convert_to_numpy(kernel).astype("float64")
    rank = kernel.ndim - 2
    if rank < 1:
        raise errors.received(
            "`kernel` must be that of a convolution, (*size, inputs, outputs).",
            kernel_shape=kernel.shape,
        )
    one = not isinstance(input_size, (list, tuple))
    size = (input_size,) * rank if one else tuple(input_size)
    taps = kernel.shape[:-2]
    if len(size) != rank or any(n < k for n, k in zip(size, taps, strict=True)):
        raise errors.received(
            "`input_size` must have a size for each axis of the kernel, and "
            "not a smaller one.",
            input_size=input_size,
            kernel_shape=kernel.shape,
        )
    return kernel, size


def spectrum(kernel, size):
    """The matrix of inputs to outputs at each frequency."""
    return np.fft.fftn(kernel, size, axes=range(len(size)))
