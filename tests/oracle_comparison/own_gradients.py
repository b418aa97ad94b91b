"""Gradients that are not the derivative of the output.

Where a formula holds something constant, or has a backward pass of its own,
its gradients are compared entry by entry with those of `oracles.GRADIENTS` or
`oracles.INFERENCE_GRADIENTS`.
"""

import numpy as np

from contract.tolerances import close
from contract.tolerances import largest
from oracles import GRADIENTS
from oracles import INFERENCE_GRADIENTS
from oracles import ORACLES
from oracles.statistics_shapes import WITNESS


def formula_of(method, training=True):
    """A call: (forward, gradient) of a row, whatever its `oracle`.

    forward(inputs, weights, state, mask) -> (list of outputs, new state);
    gradient(inputs, weights, state, upstream, mask) -> ([gradient of each
    input], {weight: gradient}), `upstream` a list.
    """
    name, config = method.oracle or (method.layer, method.options)

    def forward(inputs, weights, state, mask=None):
        y, new = ORACLES[name](inputs, config, weights, state, training, mask)
        return list(y) if isinstance(y, tuple) else [y], new

    def gradient(inputs, weights, state, upstream, mask=None):
        if len(upstream) == 1:
            (upstream,) = upstream
        known = GRADIENTS if training else INFERENCE_GRADIENTS
        return known[name](inputs, config, weights, state, upstream, mask)

    return forward, gradient


def own_gradient(method, training=True):
    """The second of `formula_of`, `None` where differences serve."""
    if method.oracle is False:
        return None
    name, _ = method.oracle or (method.layer, method.options)
    known = GRADIENTS if training else INFERENCE_GRADIENTS
    return formula_of(method, training)[1] if name in known else None


def compare_gradients(found, expected, entries):
    """Both are ([gradient of each input], {weight: gradient}).

    What a backward pass carries on counts as the gradient of its weight.
    """
    of_inputs, of_weights = found
    of_weights = {n: g for n, g in of_weights.items() if n != WITNESS}
    wanted_inputs, wanted_weights = expected
    assert of_weights.keys() == wanted_weights.keys()
    pairs = [
        *zip(of_inputs, wanted_inputs, strict=True),
        *((of_weights[n], wanted_weights[n]) for n in of_weights),
    ]
    for gradient, wanted in pairs:
        if gradient is None:
            continue
        assert np.all(np.isfinite(gradient))
        assert gradient.shape == np.shape(wanted)
        # The gradient of a weight is a sum of terms of both signs, smaller
        # than they are by the root of their number.
        summed = np.sqrt(max(1.0, entries / gradient.size))
        close(gradient, wanted, entries, scale=max(largest(wanted), summed))
