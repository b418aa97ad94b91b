"""Measures weight parametrizations in one mode and writes JSON.

    python -m benchmarks.weights JSON

with the request of ci/benchmark (mode, shapes, rounds, seconds, output).
Training steps of wrapped dense and convolutional layers against (a) the plain
layer, (b) on PyTorch the module with torch.nn.utils.parametrizations; and the
cost of one more power iteration against two matrix-vector products.
"""

import json
import sys
import time

import keras
import numpy as np
from keras import ops

import keras_norm as kn
from benchmarks import measure
from benchmarks import plan
from benchmarks import whitening
from keras_norm.core import kernels

# Iterations that are measured at a time: one alone is lost in the noise.
STEPS = 16
FILTERS, SIZE = 128, 3


def main():
    request = json.loads(sys.argv[1])
    mode, results = request["mode"], []
    for shape in map(tuple, request["shapes"]):
        for method in plan.parametrizations(shape):
            title = f"{mode} {method} {plan.written(shape)}"
            print(f"  {title}: ", end="", flush=True)
            start = time.perf_counter()
            case = {
                "mode": mode,
                "method": method,
                "shape": shape,
                **compare(mode, method, shape, request),
            }
            results.append(case)
            ratios = dict(case["step"]["ratios"])
            if "iteration" in case:
                ratios["iteration"] = case["iteration"]
            text = ", ".join(f"{k} {r:.2f}" for k, r in ratios.items())
            print(f"{text} ({time.perf_counter() - start:.0f} s)", flush=True)
    with open(request["output"], "w") as file:
        json.dump({"versions": measure.versions(), "cases": results}, file)


def plain(shape):
    """Returns the Keras layer that is wrapped."""
    if len(shape) == 2:
        return keras.layers.Dense(shape[-1])
    return keras.layers.Conv2D(FILTERS, SIZE, padding="same")


def wrapped(method, shape, **options):
    """Returns our wrapper of it."""
    layers = kn.layers
    return {
        "weight": layers.WeightNormalization,
        "spectral": layers.SpectralNormalization,
        "newton": layers.NewtonOrthogonalization,
        "cayley": layers.OrthogonalParametrization,
    }[method](plain(shape), **options)


def of_torch(method, shape):
    """Returns the module of torch.nn, parametrized by PyTorch, or None."""
    from torch import nn
    from torch.nn.utils import parametrizations

    if len(shape) == 2:
        module = nn.Linear(shape[-1], shape[-1])
    else:
        module = nn.Conv2d(shape[-1], FILTERS, SIZE, padding="same")
    if method == "cayley":
        return parametrizations.orthogonal(module, orthogonal_map="cayley")
    parametrize = {
        "weight": parametrizations.weight_norm,
        "spectral": parametrizations.spectral_norm,
    }.get(method)
    return parametrize(module) if parametrize else None


def compare(mode, method, shape, request):
    """Returns the figures of one wrapper around one layer."""
    random = np.random.default_rng(0)
    outputs = shape if len(shape) == 2 else (*shape[:-1], FILTERS)
    x = random.normal(size=shape).astype("float32")
    dy = random.normal(size=outputs).astype("float32")
    make = whitening.maker(mode)
    entrants = {
        "ours": make(wrapped(method, shape), x, dy),
        "plain": make(plain(shape), x, dy),
    }
    if plan.MODES[mode].backend == "torch":
        module = of_torch(method, shape)
        if module is not None:
            entrants["torch"] = of_module(module, x, dy)
    case = {
        "step": whitening.timed(
            {n: p.step for n, p in entrants.items()}, request
        )
    }
    if method == "spectral" and len(shape) == 2:
        # A convolution takes a thousand times as long as its iteration.
        case["iteration"] = iteration(mode, shape, x, dy, request)
    return case


def of_module(module, x, dy):
    """Returns the programs of a module, channels as PyTorch wants them."""
    from benchmarks import programs

    if len(x.shape) > 2:
        x, dy = (np.ascontiguousarray(np.moveaxis(t, -1, 1)) for t in (x, dy))
    return programs.of_module(module, list(module.parameters()), x, dy)


def iteration(mode, shape, x, dy, request):
    """Returns one power iteration in units of two products.

    Steps with 1 + STEPS iterations less those with one, over a layer's own
    products and as many pairs of products with its kernel, less the layer.
    """
    make = whitening.maker(mode)
    runs = {
        "many": make(
            wrapped("spectral", shape, power_iterations=1 + STEPS), x, dy
        ),
        "one": make(wrapped("spectral", shape), x, dy),
        "products": make(Products(plain(shape)), x, dy),
        "plain": make(plain(shape), x, dy),
    }
    runs = {name: program.step for name, program in runs.items()}
    runs["ours"] = runs["one"]
    samples, _ = measure.interleave(runs, request["rounds"], request["seconds"])
    times = {n: np.array(t) for n, t in samples.items()}
    iterations = np.median(times["many"] - times["one"])
    products = np.median(times["products"] - times["plain"])
    return round(float(iterations / products), 4)


class Products(keras.layers.Layer):
    """A layer, and STEPS pairs of products with its kernel as a matrix."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, shape):
        self.layer.build(shape)
        (kernel,) = kernels.of(self.layer)
        self.start = self.add_weight(
            shape=kernel.matrices_shape()[:2],
            initializer="ones",
            trainable=False,
        )

    def call(self, x):
        (kernel,) = kernels.of(self.layer)
        m = kernel.matrices(ops.stop_gradient(kernel.value.value))
        u = ops.expand_dims(self.start.value, 1)
        for _ in range(STEPS):
            v = ops.matmul(u, m)
            u = ops.squeeze(ops.matmul(m, ops.swapaxes(v, 1, 2)), -1)
            u = ops.expand_dims(u, 1)
        # Too small to change anything, and not to be left out.
        return self.layer(x) + 1e-30 * ops.sum(u)


if __name__ == "__main__":
    main()
