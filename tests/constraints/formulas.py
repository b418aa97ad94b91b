"""The projections in NumPy, on kernels as float64 matrices (outputs, fan-in).

`KERNELS` are shapes of Keras' kernels and what their output axes are; `axis`
is what the user writes.
"""

import numpy as np

# name: (shape, axis, output axes)
KERNELS = {
    "dense": ((7, 5), None, (1,)),
    "more_outputs": ((3, 8), -1, (1,)),
    "convolution": ((3, 2, 4, 6), None, (3,)),
    "transposed": ((3, 3, 5, 4), "transposed_convolution", (2,)),
    "depthwise": ((3, 3, 4, 2), "depthwise_convolution", (2, 3)),
    "embedding": ((4, 9), "embedding", (0,)),
    "two_axes": ((2, 3, 4, 5), (-1, 0), (0, 3)),
    "whole": ((3, 4), (), ()),
}


def kernel(name, seed=0):
    """(random kernel, `axis`, output axes)."""
    shape, axis, axes = KERNELS[name]
    rng = np.random.default_rng(seed)
    return rng.normal(0.2, 1.0, shape), axis, axes


def order(shape, axes):
    return (*axes, *(a for a in range(len(shape)) if a not in axes))


def matrix(w, axes):
    """(outputs, fan-in)."""
    outputs = int(np.prod([w.shape[a] for a in axes]))
    return w.transpose(order(w.shape, axes)).reshape(outputs, -1)


def of_matrix(m, shape, axes):
    """The inverse of `matrix`."""
    axes = order(shape, axes)
    return m.reshape([shape[a] for a in axes]).transpose(np.argsort(axes))


def unit(m, value=1.0):
    return value * m / np.linalg.norm(m, axis=1, keepdims=True)


def centred_unit(m, value=1.0):
    return unit(m - m.mean(1, keepdims=True), value)


def polar(m):
    u, _, v = np.linalg.svd(m, full_matrices=False)
    return u @ v


def gram_schmidt(m):
    """Rows, or columns if there are less, made orthonormal in their order."""
    if m.shape[0] > m.shape[1]:
        return gram_schmidt(m.T).T
    rows = []
    for row in m:
        for _ in range(2):
            row = row - sum((row @ q) * q for q in rows)
        rows.append(row / np.linalg.norm(row))
    return np.array(rows)


def bounded(m, value=1.0):
    return m * min(1.0, value / np.linalg.norm(m, 2))


def condition(m):
    """Largest by smallest singular value."""
    s = np.linalg.svd(m, compute_uv=False)
    return s[0] / s[-1]
