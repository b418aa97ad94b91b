"""Reference maps of the weight parametrizations: NumPy, float64, formulas.

A kernel is given with a letter for each of its axes: "o" output neurons, "r"
entries of a neuron, "b" independent blocks. Neurons are handled one by one,
matrices block by block.
"""

import numpy as np


def positions(labels, letter):
    """Axes of one letter."""
    return [a for a, label in enumerate(labels) if label == letter]


def neurons(shape, labels):
    """An index of the kernel for each output neuron."""
    kept = [a for a, label in enumerate(labels) if label != "r"]
    for where in np.ndindex(*[shape[a] for a in kept]):
        index = [slice(None)] * len(shape)
        for a, i in zip(kept, where, strict=True):
            index[a] = i
        yield where, tuple(index)


def by_neuron(v, labels, function):
    """`function` of the vector of each neuron."""
    v = np.asarray(v, "float64")
    w = np.empty(v.shape)
    for _, index in neurons(v.shape, labels):
        w[index] = function(v[index].reshape(-1)).reshape(v[index].shape)
    return w


def matrices(v, labels):
    """One (outputs, entries) for each block."""
    order = [a for letter in "bor" for a in positions(labels, letter)]
    v = np.transpose(np.asarray(v, "float64"), order)
    sizes = [len(positions(labels, letter)) for letter in "bo"]
    blocks = v.reshape(-1, *v.shape[sizes[0] :])
    outputs = int(np.prod(blocks.shape[1 : 1 + sizes[1]]))
    return blocks.reshape(len(blocks), outputs, -1)


def by_matrix(v, labels, function, parts=1):
    """`function` of each matrix, cut into parts of consecutive rows."""
    v = np.asarray(v, "float64")
    found = []
    for block in matrices(v, labels):
        rows = [function(m) for m in np.split(block, parts)]
        found.append(np.concatenate(rows))
    order = [a for letter in "bor" for a in positions(labels, letter)]
    w = np.stack(found).reshape([v.shape[a] for a in order])
    return np.transpose(w, np.argsort(order))


def scaled(w, labels, g):
    """Each neuron times its entry of g."""
    w = np.array(w)
    for where, index in neurons(w.shape, labels):
        w[index] *= np.asarray(g, "float64")[where]
    return w


# Vectors ----------------------------------------------------------------------


def rate(square, epsilon, place):
    """One over a length, or over a standard deviation."""
    if place == "outside":
        return 1 / (np.sqrt(square) + epsilon)
    if place == "inside":
        return 1 / np.sqrt(square + epsilon)
    return 1 / np.sqrt(max(square, epsilon))


def weight_normalization(v, epsilon=1e-12, epsilon_place="clamp"):
    """v / |v|."""
    return v * rate(np.sum(v**2), epsilon, epsilon_place)


def centered_weight_normalization(v, epsilon=1e-5, epsilon_place="outside"):
    """The same of v - mean(v)."""
    v = v - np.mean(v)
    return v * rate(np.sum(v**2), epsilon, epsilon_place)


def weight_standardization(
    v, epsilon=1e-6, epsilon_place="inside", unbiased=False
):
    """(v - mean) / std."""
    v = v - np.mean(v)
    variance = np.sum(v**2) / (len(v) - unbiased)
    return v * rate(variance, epsilon, epsilon_place)


def scaled_weight_standardization(
    v, gamma=1.0, epsilon=1e-4, epsilon_place="clamp"
):
    """gamma (v - mean) / (std sqrt(F))."""
    v = v - np.mean(v)
    if epsilon_place == "clamp":
        return gamma * v / np.sqrt(max(len(v) * np.var(v), epsilon))
    return gamma * v * rate(np.var(v), epsilon, epsilon_place) / np.sqrt(len(v))


def weight_centralization(v):
    """v - mean."""
    return v - np.mean(v)


# Matrices ---------------------------------------------------------------------


def unit(x):
    """x / |x|."""
    return x / np.linalg.norm(x)


def spectral_vectors(m, u, iterations):
    """(sigma, u, v) after some steps; after none, of half a step."""
    v = unit(m.T @ u)
    for _ in range(iterations):
        v = unit(m.T @ u)
        u = unit(m @ v)
    return u @ m @ v, u, v


def spectral_gradient(m, upstream, u, v):
    """Of sum(m / sigma * upstream), u and v constant."""
    sigma = u @ m @ v
    along = np.sum(upstream * m) / sigma
    return (upstream - along * np.outer(u, v)) / sigma


def in_groups(m, size, function):
    """`function` of each `size` rows; the last have what is left."""
    cuts = range(0, len(m), size)
    return np.concatenate([function(m[c : c + size]) for c in cuts])


def centred_rows(m, center):
    """Each row minus its mean."""
    return m - np.mean(m, 1, keepdims=True) if center else m


def orthogonal_weight_normalization(
    m, group_size=None, center=True, epsilon=0.0
):
    """(Z Z^T)^(-1/2) Z in groups of rows."""
    z = centred_rows(m, center)
    largest = m.shape[1] - (1 if center else 0)

    def root(z):
        values, vectors = np.linalg.eigh(z @ z.T + epsilon * np.eye(len(z)))
        return vectors @ np.diag(values**-0.5) @ vectors.T @ z

    return in_groups(z, group_size or min(len(m), largest), root)


def newton_orthogonalization(
    m, iterations=5, group_size=None, mode="auto", center=None, epsilon=1e-5
):
    """B_T Z / sqrt(n), by the steps as they are published."""
    size = group_size or len(m)
    by_rows = size <= m.shape[1] if mode == "auto" else mode == "row"
    z = centred_rows(m, by_rows if center is None else center)

    def steps(z):
        s = z @ z.T + epsilon * np.eye(len(z))
        n = np.linalg.norm(s)
        b = np.eye(len(z))
        for _ in range(iterations):
            b = 1.5 * b - 0.5 * b @ b @ b @ s / n
        return b @ z / np.sqrt(n)

    if by_rows:
        return in_groups(z, size, steps)
    return in_groups(z, size, lambda z: steps(z.T).T)


def skew(x):
    """tril(x) filled up with zeros to a square, minus its transpose."""
    n, k = x.shape
    a = np.zeros((n, n))
    a[:, :k] = np.tril(x)
    return a - a.T


def cayley(x):
    """(I - A/2)^(-1) (I + A/2)."""
    a, eye = skew(x), np.eye(len(x))
    return np.linalg.inv(eye - a / 2) @ (eye + a / 2)


def matrix_exponential(x):
    """exp(A), of the eigenvalues of the Hermitian A / i."""
    values, vectors = np.linalg.eigh(skew(x) / 1j)
    return np.real(vectors @ np.diag(np.exp(1j * values)) @ np.conj(vectors).T)


def householder(x):
    """One reflection after the other."""
    n, k = x.shape
    q = np.eye(n)
    for j in range(k):
        h = np.zeros(n)
        h[j], h[j + 1 :] = 1, x[j + 1 :, j]
        q = q @ (np.eye(n) - 2 * np.outer(h, h) / (h @ h))
    signs = np.ones(n)
    signs[:k] = [-1 if int(x[j, j]) < 0 else 1 for j in range(k)]
    return q * signs


ORTHOGONAL = {
    "cayley": cayley,
    "matrix_exponential": matrix_exponential,
    "householder": householder,
}


def orthogonal_parametrization(m, method="cayley", base=None):
    """base Q(X), X tall."""
    x = m.T if len(m) < m.shape[1] else m
    q = ORTHOGONAL[method](x)[:, : x.shape[1]]
    q = q if base is None else base @ q
    return q.T if len(m) < m.shape[1] else q


def q_of(m):
    """Orthonormal Q of a tall m = QR, R with a positive diagonal."""
    q, r = np.linalg.qr(m)
    return q * np.where(np.diag(r) < 0, -1, 1)


VECTORS = {
    "WeightNormalization": weight_normalization,
    "CenteredWeightNormalization": centered_weight_normalization,
    "WeightStandardization": weight_standardization,
    "ScaledWeightStandardization": scaled_weight_standardization,
    "WeightCentralization": weight_centralization,
}
MATRICES = {
    "OrthogonalWeightNormalization": orthogonal_weight_normalization,
    "NewtonOrthogonalization": newton_orthogonalization,
    "OrthogonalParametrization": orthogonal_parametrization,
}


def effective(name, v, labels, parts=1, /, **config):
    """The effective kernel, without the scale, of a method without state."""
    if name in VECTORS:
        return by_neuron(v, labels, lambda n: VECTORS[name](n, **config))
    return by_matrix(v, labels, lambda m: MATRICES[name](m, **config), parts)


# Convolutions -----------------------------------------------------------------


def matrix_of(function, shape):
    """The matrix of a linear function of arrays of this shape."""
    columns = []
    for index in np.ndindex(*shape):
        x = np.zeros(shape)
        x[index] = 1
        columns.append(np.ravel(function(x)))
    return np.stack(columns, 1)


# Quantization -----------------------------------------------------------------


def quantization(
    v, labels, levels="binary", alpha="neuron", threshold=0.7, gates=1
):
    """(codes, scale of each entry) of a kernel."""
    v = np.asarray(v, "float64")
    parts = [index for _, index in neurons(v.shape, labels)]
    if alpha != "neuron":
        step = v.shape[-1] // gates
        cuts = range(0, v.shape[-1], step)
        parts = [(..., slice(c, c + step)) for c in cuts]
    codes, scale = np.empty(v.shape), np.empty(v.shape)
    for index in parts:
        sizes = np.abs(v[index])
        chosen = np.ones(sizes.shape, bool)
        if levels == "ternary":
            chosen = sizes > threshold * np.mean(sizes)
        codes[index] = np.where(v[index] < 0, -1, 1) * chosen
        scale[index] = np.mean(sizes[chosen])
    if alpha == "glorot":
        fans = np.prod(v.shape[:-2]) * (v.shape[-2] + v.shape[-1])
        scale[:] = np.sqrt(6 / fans) / 2
    elif alpha is None or not isinstance(alpha, str):
        scale[:] = 1 if alpha is None else alpha
    return codes, scale


def quantization_gradient(v, scale, upstream, gradient="code"):
    """What stands for the gradient of the free kernel."""
    if gradient == "identity":
        return upstream
    passes = np.abs(v) <= 1 if gradient == "clipped" else 1
    return scale * upstream * passes
