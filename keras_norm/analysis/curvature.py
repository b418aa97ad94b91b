"""The spectrum of a loss's curvature: largest eigenvalues, density, trace.

Ghorbani, Krishnan & Xiao, 2019, https://arxiv.org/abs/1901.10159
"""

import dataclasses

import keras
import numpy as np

from keras_norm import errors
from keras_norm.analysis import lanczos
from keras_norm.analysis.curvature_products import CurvatureProduct
from keras_norm.analysis.model_losses import ModelLoss
from keras_norm.analysis.spectral_density import Curvature
from keras_norm.core.layer import positive

MATRICES = ["hessian", "gauss_newton", "empirical_fisher"]
METHODS = {"lanczos": lanczos.lanczos, "power": lanczos.power_iteration}


def curvature(
    model: keras.Model,
    x,
    y,
    loss=None,
    matrix: str = "hessian",
    eigenvalues: int = 1,
    density: bool = False,
    method: str = "lanczos",
    steps: int = 100,
    probes: int = 4,
    nodes: int = 30,
    tolerance: float = 1e-3,
    training: bool = False,
    penalties: bool = False,
    difference: float | None = None,
    seed: int | None = None,
    verbose: int = 0,
) -> Curvature:
    """Eigenvalues of the curvature of the loss L in all trained weights.

    | matrix | A |
    |---|---|
    | "hessian" | d^2 L / dw^2 |
    | "gauss_newton" | J^T H J, J = d outputs / dw, H = d^2 L / d outputs^2 |
    | "empirical_fisher" | mean over samples of g g^T, g = d loss / dw |

    Only products A v are formed. Lanczos' method, with full
    reorthogonalization, keeps one vector for each step; the power iteration
    v <- A v / ||A v|| takes more steps, one eigenvalue after the other. The
    density is the mean over random v of sum_i (v . u_i)^2 delta(t -
    lambda_i), of which Lanczos gives nodes and weights; n times its mean is
    Hutchinson's estimate of the trace.

    Gradient descent is stable up to the learning rate 2 / largest eigenvalue.
    With cross-entropy of logits, or the squared error, "gauss_newton" is the
    Fisher matrix (up to a factor); outputs that are probabilities make another
    matrix of it.

    Args:
        model: a built model.
        x: one batch of inputs.
        y: its targets.
        loss: a loss of Keras, its name, or a function of (targets, outputs),
            averaged over the samples; None: what the model is compiled with.
        matrix: see the table; the last two need a model of one output.
        eigenvalues: k, how many of largest magnitude. Lanczos sees one
            eigenvector of each eigenvalue, the power iteration all.
        density: also the density and the trace.
        method: "lanczos" or "power".
        steps: at most so many products (of the power iteration, for each
            eigenvalue).
        probes: random vectors of the density.
        nodes: products for each of them.
        tolerance: residual at which an eigenvalue is found, as a fraction of
            the largest.
        training: as in a training step, normalized by statistics of this
            batch through which derivatives go; or as at inference.
        penalties: add those of regularizers to L, for "hessian".
        difference: differentiate the gradient by steps of this length, for
            "hessian", instead of exactly.
        seed: of the random vectors.
        verbose: 1 shows the progress.

    Returns:
        A `Curvature` of NumPy arrays; `.plot()` draws it. Weights and
        statistics of the model are as they were.

    Raises:
        ValueError: a model that is not built, no loss, unknown names, numbers
            that are not positive, more eigenvalues than weights.

    Note: exact products see what the backward passes of the layers say.
    Constants to them (renormalization's factors, assignments to components)
    are constants here; where a backward is made up (online and power
    normalization, eigenvectors as axes) it is no gradient, and has no Hessian:
    `difference` shows what it does.

    Example:

    >>> import keras
    >>> import keras_norm as kn
    >>> import numpy as np
    >>> model = keras.Sequential([
    ...     keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    >>> x = np.array([[3.0, 0.0], [0.0, 1.0]], "float32")
    >>> found = kn.analysis.curvature(
    ...     model, x, np.zeros((2, 1)), loss="mse", eigenvalues=2)
    >>> print([round(float(value), 3) for value in found.eigenvalues])
    [9.0, 1.0]

    Reference:

    - Ghorbani, Krishnan & Xiao, An Investigation into Neural Net Optimization
      via Hessian Eigenvalue Density, ICML 2019,
      https://arxiv.org/abs/1901.10159
    - Yao et al., PyHessian, 2020, https://arxiv.org/abs/1912.07145
    """
    if matrix not in MATRICES:
        raise errors.unknown_name("matrix", matrix, MATRICES)
    if method not in METHODS:
        raise errors.unknown_name("method", method, list(METHODS))
    for name, number in (
        ("steps", steps),
        ("probes", probes),
        ("nodes", nodes),
    ):
        positive(name, number)
    check_options(matrix, penalties, difference)
    function = ModelLoss(model, x, y, loss, training, penalties=penalties)
    product = CurvatureProduct(function, matrix, difference)
    if not 0 <= eigenvalues <= min(product.size, steps):
        raise errors.received(
            "`eigenvalues` must be at least 0, at most the number of weights "
            "and of steps.",
            eigenvalues=eigenvalues,
            weights=product.size,
            steps=steps,
        )
    rng = np.random.default_rng(seed)
    values, residuals = np.zeros(0), np.zeros(0)
    bar = keras.utils.Progbar(None, verbose=verbose, unit_name="product")
    counted = Counted(product, bar)
    if eigenvalues:
        values, residuals = METHODS[method](
            counted, product.size, eigenvalues, steps, tolerance, rng
        )
    found = Curvature(matrix, product.size, values, residuals)
    if density:
        found = with_density(found, counted, probes, nodes, rng)
    bar.update(counted.count, finalize=True)
    return found


class Counted:
    """A product that tells a progress bar of itself."""

    def __init__(self, product, bar):
        self.product, self.bar, self.count = product, bar, 0

    def __call__(self, vector):
        self.count += 1
        found = self.product(vector)
        self.bar.update(self.count)
        return found


def check_options(matrix, penalties, difference):
    """What only the Hessian has; a step that is one."""
    if matrix != "hessian" and (penalties or difference is not None):
        raise errors.received(
            "`penalties` and `difference` must be left out where `matrix` is "
            "not 'hessian'.",
            matrix=matrix,
            penalties=penalties,
            difference=difference,
        )
    if difference is not None and not difference > 0:
        raise errors.received(
            "`difference` must be None or positive.",
            "1e-2 suits weights of a length of about 10.",
            difference=difference,
        )


def with_density(found, product, probes, nodes, rng):
    """The same with density and trace."""
    signs = rng.integers(0, 2, (probes, found.size)) * 2.0 - 1.0
    places, weights = lanczos.quadrature(product, signs, nodes)
    traces = found.size * np.sum(places * weights, axis=1)
    deviation = np.std(traces, ddof=1) if probes > 1 else np.nan
    return dataclasses.replace(
        found,
        nodes=places,
        weights=weights,
        trace=float(np.mean(traces)),
        trace_error=float(deviation / np.sqrt(probes)),
    )
