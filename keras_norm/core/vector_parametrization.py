"""Parametrizations of one neuron at a time: centre, divide by a length."""

import math

from keras_norm.core import weight_vectors
from keras_norm.core.parametrization import WeightParametrization


class VectorParametrization(WeightParametrization):
    """Base: w = g c rate(|c|^2) for each neuron, c = v or v - mean(v).

    The scale is folded into the rate, so that the kernel is multiplied once.
    """

    # Subtract the mean of each neuron.
    centers = False

    # Divide each neuron by a length.
    scales = True

    def rate(self, squares, kernel):
        """What a neuron of this squared length is multiplied by."""
        raise NotImplementedError

    def check(self, kernel):
        """Refuse neurons that centring makes 0."""
        if self.centers:
            weight_vectors.check_fan_in(kernel)

    def map(self, v, kernel, state, training=False):
        """Centre and scale each neuron."""
        return self.scaled_map(v, kernel, state, None, training)

    def scaled_map(self, v, kernel, state, scale, training=False):
        """The same times the scale."""
        if self.centers:
            v = weight_vectors.centred(v, kernel.reduced)
        factors = [] if scale is None else [scale]
        if self.scales:
            squares = weight_vectors.square(v, kernel.reduced)
            factors.append(self.rate(squares, kernel))
        return (v * math.prod(factors) if factors else v), {}
