"""Derivatives against formulas, and through layers with their own backward."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_norm as kn
from contract.method import numpy
from contract.methods import METHODS
from contract.methods import first_of_each
from keras_norm.analysis import autodiff
from keras_norm.core.model_kernels import trained

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 4)).astype("float32")
X, V = RNG.normal(size=(2, 4)).astype("float32")
Y, W = RNG.normal(size=(2, 2, 2)).astype("float32")


def tensor(array):
    return ops.convert_to_tensor(array, "float32")


def close(found, expected, size=None):
    """Up to the rounding of some tens of operations."""
    size = np.max(np.abs(expected)) if size is None else size
    np.testing.assert_allclose(numpy(found), expected, rtol=0, atol=2e-6 * size)


def scalar(tensors):
    """|A x|^2 / 2 + sum x^3 + <x, y> + sum y^4."""
    x, y = tensors
    square = ops.sum(ops.square(ops.matmul(tensor(A), x)))
    product = ops.sum(ops.reshape(y, (-1,)) * x)
    return 0.5 * square + ops.sum(x**3) + product + ops.sum(y**4)


def test_gradients():
    value, (of_x, of_y) = autodiff.gradients(scalar, [X, Y])
    expected = 0.5 * np.sum((A @ X) ** 2) + np.sum(X**3) + X @ Y.ravel()
    close(value, expected + np.sum(Y**4))
    close(of_x, A.T @ A @ X + 3 * X**2 + Y.ravel())
    close(of_y, X.reshape(2, 2) + 4 * Y**3)
    again = autodiff.gradient_function(scalar)([tensor(X), tensor(Y)])[1]
    close(again[0], numpy(of_x))


def test_what_is_not_connected_has_gradient_zero():
    _, (of_x, of_y) = autodiff.gradients(lambda t: ops.sum(t[0]), [X, Y])
    close(of_x, np.ones(4))
    assert not np.any(numpy(of_y))
    product = autodiff.hessian_product(lambda t: ops.sum(t[0]), [X], [V])
    assert not np.any(numpy(product[0]))


def test_gradients_are_of_scalars():
    with pytest.raises(ValueError, match="must return a scalar.*shape=.4,"):
        autodiff.gradients(lambda t: t[0], [X])


def test_hessian_products():
    """The operator gives the same again and again."""
    operator = autodiff.hessian_operator(scalar, [X, Y])
    for _ in range(2):
        of_x, of_y = operator([tensor(V), tensor(W)])
        close(of_x, A.T @ A @ V + 6 * X * V + W.ravel())
        close(of_y, V.reshape(2, 2) + 12 * Y**2 * W)


def test_jacobian_and_gauss_newton_products():
    jacobian = A * (2 * X)

    def outputs(tensors):
        return ops.matmul(tensor(A), ops.square(tensors[0]))

    close(autodiff.jacobian_product(outputs, [X], [V]), jacobian @ V)

    def curved(value, vector):
        return 12.0 * ops.square(value) * vector

    operator = autodiff.gauss_newton_operator(outputs, curved, [X])
    expected = jacobian.T @ (12 * (A @ X**2) ** 2 * (jacobian @ V))
    for _ in range(2):
        close(operator([tensor(V)])[0], expected)


# Layers -----------------------------------------------------------------------

# Where something counts as constant for the backward, or bends, or where the
# backward is made up, gradients have another derivative than they say.
NO_HESSIAN = (
    "AdaNormalization",  # a factor that counts as constant
    "BatchRenormalization",  # likewise
    "DynamicNormalization",  # likewise
    "FullNormalization",  # earlier batches
    "GeneralizedDivisiveNormalization",  # weights at their bounds
    "GroupwiseWhiteningColoring",  # bends
    "LearnableRegionNormalization",  # a threshold
    "MixtureNormalization",  # shares of components
    "MovingAverageBatchNormalization",  # made up
    "OnlineNormalization",  # made up
    "PowerNormalization",  # made up
    "RangeBatchNormalization",  # largest entries change places
    "TLU",  # bends
    "TransferableNormalization",  # a weight that counts as constant
    "WhitenedDense",  # whitened by what counts as constant
    "WhiteningColoringTransform",  # truncated eigenvectors: first derivatives
)
# One of each primitive with a backward of its own. JAX, which compiles each of
# them for seconds, takes the first.
EVERY_RUN = (
    "DecorrelatedBatchNormalization-4",  # powers of a matrix, channel groups
    "RMSNormalization",  # positions
    "BatchNormalization",  # moments, affine map
    "LayerNormalization-two-axes",
    "LocalContextNormalization",  # window moments
    "DivisiveNormalization",  # window sums
    "SwitchableBatchNormalization",
    "AttentiveNormalization",
    "ConditionalBatchNormalization-hidden",
)
if keras.backend.backend() == "jax":
    EVERY_RUN = EVERY_RUN[:2]


def rows():
    chosen = {str(m): m for m in (*first_of_each(), *METHODS)}
    return [
        pytest.param(
            m, id=name, marks=() if name in EVERY_RUN else pytest.mark.all
        )
        for name, m in chosen.items()
        if m.layer not in NO_HESSIAN
        and (name in EVERY_RUN or m in first_of_each())
    ]


class Scalar:
    """sum u (y + y^2 / 4) of a layer's result y: of input and weights."""

    def __init__(self, method, rng):
        self.method, self.layer = method, method.built()
        first, *self.others = method.inputs()
        self.variables = trained(self.layer)
        self.values = [tensor(first)]
        self.values += [ops.stop_gradient(ops.copy(v)) for v in self.variables]
        takes = inspect.signature(self.layer.call).parameters
        self.options = {"training": True} if "training" in takes else {}
        y = self.of(self.values)
        self.u = tensor(rng.normal(size=y.shape))

    def of(self, tensors):
        mapping = zip(self.variables, tensors[1:], strict=True)
        with keras.StatelessScope(list(mapping)):
            others = [ops.convert_to_tensor(a) for a in self.others]
            given = self.method.given([tensors[0], *others])
            y = self.layer(given, **self.options)
        return y[0] if isinstance(y, (list, tuple)) else y

    def __call__(self, tensors):
        y = self.of(tensors)
        return ops.sum(self.u * (y + 0.25 * ops.square(y)))


def flat(tensors):
    return np.concatenate([numpy(t).ravel().astype("float64") for t in tensors])


@pytest.mark.parametrize("method", rows())
def test_hessian_products_through_layers(method):
    """Against differences of gradients: w H v, for w = H v and at random."""
    rng = np.random.default_rng(5)
    function = Scalar(method, rng)
    gradient = autodiff.gradient_function(function)

    def direction():
        found = [rng.normal(size=v.shape) for v in function.values]
        length = np.linalg.norm(flat([tensor(v) for v in found]))
        return [tensor(v / length) for v in found]

    v, w = direction(), direction()

    def moved(step):
        values = [a + step * b for a, b in zip(function.values, v, strict=True)]
        return flat(gradient(values)[1])

    # Of fourth order: h^4 of what steps of length 1 change, with rounding of
    # gradients divided by h.
    h = 0.02
    near, far = moved(h / 2) - moved(-h / 2), moved(h) - moved(-h)
    expected = (8 * near - far) / (6 * h)
    found = flat(autodiff.hessian_product(function, function.values, v))
    tolerance = 2e-3 * np.max(np.abs(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    back = flat(autodiff.hessian_product(function, function.values, w))
    symmetric = abs(back @ flat(v) - found @ flat(w))
    assert symmetric <= 2e-4 * np.linalg.norm(expected)


def test_group_scaled_hessian_products():
    """Power normalization's scaling of tokens, the rest of it apart."""
    from keras_norm.core.power import group_scaled

    rng = np.random.default_rng(1)
    x, v, u = rng.normal(size=(3, 3, 8))

    def scaled(x):
        groups = x.reshape(3, 2, 4)
        square = np.mean(groups**2, axis=-1, keepdims=True)
        return (groups / np.sqrt(square + 1e-5)).reshape(3, 8)

    def slope(x):
        """Gradient of sum u scaled(x), by differences in float64."""
        steps = 1e-4 * np.eye(24).reshape(24, 3, 8)
        found = [np.sum(u * (scaled(x + s) - scaled(x - s))) for s in steps]
        return np.reshape(found, (3, 8)) / 2e-4

    found = autodiff.hessian_product(
        lambda t: ops.sum(tensor(u) * group_scaled(t[0], -1, 2, 1e-5)),
        [tensor(x)],
        [tensor(v)],
    )
    expected = (slope(x + 1e-3 * v) - slope(x - 1e-3 * v)) / 2e-3
    np.testing.assert_allclose(numpy(found[0]), expected, atol=1e-4)


def test_parametrized_kernels():
    """Weight normalization: lengths of neurons have their own backward."""
    rng = np.random.default_rng(2)
    layer = kn.layers.WeightNormalization(keras.layers.Dense(3))
    layer.build((None, 4))
    x = tensor(rng.normal(size=(5, 4)))
    v = rng.normal(size=(4, 3))
    kernel = numpy(layer.layer.kernel).astype("float64")
    gain = np.linalg.norm(kernel, axis=0)

    def scalar(tensors):
        with keras.StatelessScope([(layer.layer.kernel, tensors[0])]):
            return ops.sum(ops.square(layer(x)))

    def slope(w):
        """Of sum (x w g / |w|)^2, by differences in float64."""

        def value(w):
            return np.sum(
                (numpy(x) @ (w / np.linalg.norm(w, axis=0)) * gain) ** 2
            )

        steps = 1e-4 * np.eye(12).reshape(12, 4, 3)
        found = [value(w + s) - value(w - s) for s in steps]
        return np.reshape(found, (4, 3)) / 2e-4

    found = autodiff.hessian_product(scalar, [tensor(kernel)], [tensor(v)])
    expected = (slope(kernel + 1e-3 * v) - slope(kernel - 1e-3 * v)) / 2e-3
    size = np.max(np.abs(expected))
    np.testing.assert_allclose(numpy(found[0]), expected, atol=1e-4 * size)
