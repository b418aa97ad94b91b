"""Measures layers that mix several normalizations and writes JSON.

    python -m benchmarks.mixtures JSON

with the request of ci/benchmark (mode, shapes, rounds, seconds, output).
Training steps against our own batch normalization, which reads the data no
more often than they should.
"""

import json
import sys
import time

import numpy as np

import keras_norm as kn
from benchmarks import measure
from benchmarks import plan
from benchmarks import whitening

EPSILON = 1e-5


def main():
    request = json.loads(sys.argv[1])
    mode, results = request["mode"], []
    for shape in map(tuple, request["shapes"]):
        for name in plan.MIXTURES:
            print(f"  {mode} {name}: ", end="", flush=True)
            start = time.perf_counter()
            step = compare(mode, name, shape, request)
            case = {"mode": mode, "layer": name, "shape": shape, "step": step}
            results.append(case)
            seconds = time.perf_counter() - start
            ratio = step["ratios"]["batch"]
            print(f"batch {ratio:.2f} ({seconds:.0f} s)", flush=True)
    with open(request["output"], "w") as file:
        json.dump({"versions": measure.versions(), "cases": results}, file)


def compare(mode, name, shape, request):
    """Returns the figures of one layer."""
    random = np.random.default_rng(0)
    x, dy = (random.normal(size=shape).astype("float32") for _ in range(2))
    make = whitening.maker(mode)
    layers = {
        "ours": getattr(kn.layers, name)(epsilon=EPSILON),
        "batch": kn.layers.BatchNormalization(epsilon=EPSILON),
    }
    entrants = {n: make(layer, x, dy) for n, layer in layers.items()}
    return whitening.timed({n: p.step for n, p in entrants.items()}, request)


if __name__ == "__main__":
    main()
