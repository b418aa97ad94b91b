"""Products of curvature matrices of a model with vectors of all its weights."""

import numpy as np
from keras import ops

from keras_norm import errors
from keras_norm.analysis import autodiff


class CurvatureProduct:
    """A v for one vector of all weights, in NumPy float64.

    Args:
        function: a `ModelLoss`.
        matrix: "hessian", "gauss_newton" or "empirical_fisher".
        difference: None for exact products; otherwise the length of the steps
            by which gradients are differentiated.
    """

    def __init__(self, function, matrix, difference=None):
        self.function = function
        self.values = function.values
        self.shapes = [tuple(v.shape) for v in self.values]
        self.size = sum(int(np.prod(shape)) for shape in self.shapes)
        if difference is not None:
            self.step = difference
            self.gradient = autodiff.gradient_function(function)
            self.product = self.differences
        elif matrix == "hessian":
            self.product = autodiff.hessian_operator(function, self.values)
        else:
            curved = {
                "gauss_newton": self.of_loss,
                "empirical_fisher": self.of_samples,
            }[matrix]
            self.product = autodiff.gauss_newton_operator(
                self.single_output, curved, self.values
            )

    def __call__(self, vector):
        found = self.product(self.parts(vector))
        return np.concatenate(
            [
                np.ravel(np.asarray(ops.convert_to_numpy(t), "float64"))
                for t in found
            ]
        )

    def parts(self, vector):
        """One tensor for each weight."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        return [
            ops.convert_to_tensor(np.reshape(part, v.shape), v.dtype)
            for part, v in zip(np.split(vector, ends), self.values, strict=True)
        ]

    def differences(self, vectors):
        """(g(w + h v) - g(w - h v)) / 2h."""
        there, back = (
            self.gradient(
                [w + h * v for w, v in zip(self.values, vectors, strict=True)]
            )[1]
            for h in (self.step, -self.step)
        )
        return [
            (a - b) / (2.0 * self.step)
            for a, b in zip(there, back, strict=True)
        ]

    def single_output(self, tensors):
        """The model's outputs, which must be one tensor."""
        outputs = self.function.outputs(tensors)
        if isinstance(outputs, (dict, list, tuple)):
            raise errors.received(
                "`matrix` must be 'hessian' where the model has several "
                "outputs.",
                outputs=len(outputs),
            )
        return outputs

    def of_loss(self, outputs, vector):
        """The Hessian of the loss in the outputs."""
        return autodiff.hessian_product(
            lambda t: self.function.of_outputs(t[0]), [outputs], [vector]
        )[0]

    def of_samples(self, outputs, vector):
        """N sum over samples of d (d . v), d = dL / d output of the sample."""
        _, (slope,) = autodiff.gradients(
            lambda t: self.function.of_outputs(t[0]), [outputs]
        )
        axes = tuple(range(1, len(outputs.shape)))
        along = ops.sum(slope * vector, axis=axes, keepdims=True)
        return outputs.shape[0] * slope * along
