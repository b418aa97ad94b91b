"""Measures one mode and writes JSON; what ci/benchmark starts.

    python -m benchmarks.measure JSON

with the request (mode, layers, shapes, rounds, seconds, output) as JSON.
"""

import gc
import json
import math
import statistics
import sys
import time
import traceback

import keras
import numpy as np

from benchmarks import competitors
from benchmarks import plan
from benchmarks import programs

# A sample lasts at least so long, or repeats the program; a small layer takes
# microseconds.
SAMPLE_SECONDS = 2e-3
FEWEST_ROUNDS = 5
WARM_UP = 2
# Of float32 results, relative to the largest value: the competitors do the
# same work.
TOLERANCE = 1e-3


def main():
    request = json.loads(sys.argv[1])
    mode = request["mode"]
    results = []
    for shape in map(tuple, request["shapes"]):
        for layer in request["layers"]:
            if not plan.applies(layer, shape):
                continue
            title = f"{mode} {layer} {plan.written(shape)}"
            print(f"  {title}: ", end="", flush=True)
            start = time.perf_counter()
            case = {"mode": mode, "layer": layer, "shape": shape}
            try:
                case |= measure(mode, layer, shape, request)
                ratios = case["step"]["ratios"]
                text = ", ".join(f"{k} {r:.2f}" for k, r in ratios.items())
            except Exception as error:  # The others may do better.
                case["error"] = f"{type(error).__name__}: {error}".strip()
                traceback.print_exc()
                text = "failed"
            results.append(case)
            print(f"{text} ({time.perf_counter() - start:.0f} s)", flush=True)
    with open(request["output"], "w") as file:
        json.dump({"versions": versions(), "cases": results}, file)


def measure(mode, layer, shape, request):
    """Returns the figures of one layer on inputs of one shape."""
    random = np.random.default_rng(0)
    x, dy = (random.normal(size=shape).astype("float32") for _ in range(2))
    entrants = prepare(mode, layer, shape, x, dy)
    check_same(entrants)
    floor = copying(x)
    case = {}
    for direction in plan.DIRECTIONS:
        runs = {name: getattr(p, direction) for name, p in entrants.items()}
        # A copy of ours: how far the ratio of equals is from 1.
        runs["self"] = runs["ours"]
        if direction == "step":
            runs["floor"] = floor
        samples, repeats = interleave(
            runs, request["rounds"], request["seconds"]
        )
        if direction == "step":
            samples["floor"] = [plan.FLOOR * t for t in samples["floor"]]
        case[direction] = summary(samples) | {"repeats": repeats}
    kept = {name: p.kept() for name, p in entrants.items()}
    case["kept"] = {
        name: round(k, 4) for name, k in kept.items() if k is not None
    }
    return case


def prepare(mode, layer, shape, x, dy):
    """Returns the programs of ours, Keras' and PyTorch's layer."""
    if plan.MODES[mode].backend != "torch":
        make = {"tensorflow": programs.of_tensorflow, "jax": programs.of_jax}
        return {
            "ours": make[mode](competitors.OURS[layer](), x, dy),
            "keras": make[mode](competitors.KERAS[layer](), x, dy),
        }
    import torch

    # A limit on recompilations counts over the whole process.
    torch._dynamo.reset()
    compiled = mode == "torch-compiled"
    native = competitors.torch_nn(layer, shape)
    first = layer in competitors.CHANNELS_FIRST and len(shape) > 2
    return {
        "ours": programs.of_torch(competitors.OURS[layer](), x, dy, compiled),
        "keras": programs.of_torch(competitors.KERAS[layer](), x, dy, compiled),
        # Eager in both modes: its native kernel.
        "torch_nn": programs.of_torch_nn(native, x, dy, first),
    }


def check_same(entrants):
    """Refuses competitors that do not compute the same."""
    expected = entrants["ours"].results()
    for name, entrant in entrants.items():
        for ours, theirs in zip(expected, entrant.results(), strict=True):
            difference = np.abs(ours - theirs).max()
            if difference > TOLERANCE * np.abs(ours).max():
                raise ValueError(
                    f"{name} computes something else than ours: the results, "
                    f"of shape {ours.shape}, differ by {difference:.1e}."
                )


def copying(x):
    """Returns a program that copies `x` into a warm buffer."""
    buffer = np.ones_like(x)
    return lambda: np.copyto(buffer, x)


def interleave(runs, rounds, seconds):
    """Returns samples of all programs, taken in turn, and their length.

    The order changes from round to round so that each of them comes first, and
    after each other one, equally often.
    """
    names = list(runs)
    for _ in range(WARM_UP):
        for name in names:
            runs[name]()
    repeats = math.ceil(SAMPLE_SECONDS / sample(runs["ours"], 1))
    samples = {name: [] for name in names}
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for number in range(rounds):
        late = time.perf_counter() - start > seconds
        if late and number >= FEWEST_ROUNDS:
            break
        turn = number // 2 % len(names)
        order = names[turn:] + names[:turn]
        if number % 2:
            order.reverse()
        for name in order:
            samples[name].append(sample(runs[name], repeats))
    gc.enable()
    return samples, repeats


def sample(run, repeats):
    """Returns the seconds that `run` takes."""
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def summary(samples):
    """Returns medians, and the medians of ours over the others.

    Ratios are formed within a round: what slows the machine down for a while
    slows down both.
    """
    ratios = {"self": median_ratio(samples["self"], samples["ours"])}
    for name in samples:
        if name not in ("ours", "self"):
            ratios[name] = median_ratio(
                samples["ours"] + samples["self"], 2 * samples[name]
            )
    return {
        "rounds": len(samples["ours"]),
        "milliseconds": {
            name: round(1e3 * statistics.median(times), 4)
            for name, times in samples.items()
        },
        # What is left of them when the machine is busy.
        "fastest": {
            name: round(1e3 * min(times), 4) for name, times in samples.items()
        },
        "ratios": ratios,
    }


def median_ratio(numerators, denominators):
    pairs = zip(numerators, denominators, strict=True)
    return round(statistics.median(a / b for a, b in pairs), 4)


def versions():
    backend = keras.backend.backend()
    return {
        "keras": keras.__version__,
        "numpy": np.__version__,
        backend: __import__(backend).__version__,
    }


if __name__ == "__main__":
    main()
