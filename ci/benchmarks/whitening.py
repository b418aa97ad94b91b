"""Measures whitening in one mode and writes JSON; see ci/benchmark.

    python -m benchmarks.whitening JSON

with the request (mode, shapes, sizes, methods, rounds, seconds, output).
Against (a) the floor, the matrix products and the factorization alone, (b)
Keras' batch normalization, (c) on PyTorch the published algorithm as one would
write it, a loop over the groups; in inference against a 1x1 convolution.
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
from benchmarks import programs
from keras_norm.core import channel_groups

ITERATIONS = 5
EPSILON = 1e-3


def main():
    request = json.loads(sys.argv[1])
    mode, results = request["mode"], []
    for shape in map(tuple, request["shapes"]):
        for method, size in plan.whitenings(shape[-1], request["methods"]):
            title = f"{mode} {method} {plan.written(shape)} in groups of {size}"
            print(f"  {title}: ", end="", flush=True)
            start = time.perf_counter()
            case = {
                "mode": mode,
                "method": method,
                "shape": shape,
                "size": size,
                **compare(mode, method, shape, size, request),
            }
            results.append(case)
            ratios = case["step"]["ratios"] | case["inference"]["ratios"]
            text = ", ".join(f"{k} {r:.2f}" for k, r in ratios.items())
            print(f"{text} ({time.perf_counter() - start:.0f} s)", flush=True)
    with open(request["output"], "w") as file:
        json.dump({"versions": measure.versions(), "cases": results}, file)


def compare(mode, method, shape, size, request):
    """Returns the figures of one layer."""
    random = np.random.default_rng(0)
    x, dy = (random.normal(size=shape).astype("float32") for _ in range(2))
    make = maker(mode)
    trained = {
        "ours": make(layer(method, size), x, dy),
        "floor": make(Products(method, size), x, dy),
        "keras": make(keras.layers.BatchNormalization(), x, dy),
    }
    check(trained, x.shape)
    if plan.MODES[mode].backend == "torch" and method == "newton":
        trained["plain"] = plain(size, x, dy)
    convolution = keras.layers.Conv2D(shape[-1], 1)
    served = {
        "ours": make(layer(method, size), x, dy, training=False),
        "convolution": make(convolution, x, dy, training=False),
    }
    return {
        "step": timed({n: p.step for n, p in trained.items()}, request),
        "inference": timed({n: p.forward for n, p in served.items()}, request),
    }


def maker(mode):
    """Returns what makes programs of layers in this mode."""
    if mode == "torch-compiled":
        import torch

        torch._dynamo.reset()
        return lambda *a, **k: programs.of_torch(*a, compiled=True, **k)
    return {
        "tensorflow": programs.of_tensorflow,
        "jax": programs.of_jax,
        "torch-eager": programs.of_torch,
    }[mode]


def timed(runs, request):
    runs["self"] = runs["ours"]
    samples, repeats = measure.interleave(
        runs, request["rounds"], request["seconds"]
    )
    return measure.summary(samples) | {"repeats": repeats}


def check(entrants, shape):
    """Refuses a floor that whitens otherwise than the layer."""
    ours, floor = (entrants[n].results()[0] for n in ("ours", "floor"))
    # The floor does not center: that moves the mean of the normal data, which
    # is of the order of 1 / sqrt(m).
    entries = np.prod(shape[:-1])
    difference = np.abs(ours - floor).max()
    if difference > 10 / np.sqrt(entries):
        raise ValueError(f"The floor computes something else: {difference}.")


def layer(method, size):
    """Returns our layer."""
    if method == "newton":
        return kn.layers.IterativeNormalization(
            size, ITERATIONS, epsilon=EPSILON
        )
    operation = {"zca": kn.operations.ZCA, "cholesky": kn.operations.Cholesky}
    return kn.layers.ComposedNormalization(
        operation=operation[method](size, running="matrix"), epsilon=EPSILON
    )


class Products(keras.layers.Layer):
    """The floor: covariance, factorization, application; nothing else."""

    def __init__(self, method, size):
        super().__init__()
        self.method = {"zca": "eigh"}.get(method, method)
        self.size = size

    def call(self, x):
        groups = channel_groups.ChannelGroups(x.shape[-1], self.size)
        entries = np.prod(x.shape[:-1])
        w = kn.ops.inverse_square_root(
            channel_groups.gram(x, groups) * (1.0 / entries),
            self.method,
            epsilon=EPSILON,
            iterations=ITERATIONS,
        )
        return channel_groups.apply(x, ops.swapaxes(w, -1, -2), groups)


def plain(size, x, dy):
    """Returns the programs of iterative normalization, group by group."""
    import torch

    def whiten(x):
        m = x.shape[1]
        centred = x - x.mean(1, keepdim=True)
        eye = torch.eye(len(x))
        sigma = centred @ centred.T / m + EPSILON * eye
        trace = torch.trace(sigma)
        p, normalized = eye, sigma / trace
        for _ in range(ITERATIONS):
            p = 1.5 * p - 0.5 * torch.matrix_power(p, 3) @ normalized
        return p @ centred / torch.sqrt(trace)

    def call(x):
        rows = x.movedim(1, 0).reshape(x.shape[1], -1)
        y = torch.cat([whiten(group) for group in rows.split(size)])
        y = y.reshape(x.shape[1], x.shape[0], *x.shape[2:]).movedim(0, 1)
        return y * gamma + beta

    gamma = torch.ones(1, x.shape[-1], 1, 1, requires_grad=True)
    beta = torch.zeros(1, x.shape[-1], 1, 1, requires_grad=True)
    x, dy = (np.ascontiguousarray(np.moveaxis(t, -1, 1)) for t in (x, dy))
    return programs.of_module(call, [gamma, beta], x, dy)


if __name__ == "__main__":
    main()
