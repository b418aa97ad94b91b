"""Tables of the figures of `ci/benchmark weights`. Standard library only."""

import collections

from benchmarks import plan
from benchmarks.report import describe
from benchmarks.report import missing
from benchmarks.report import shown
from benchmarks.report import table_and_misses
from benchmarks.report import timed_table

Verdict = collections.namedtuple("Verdict", "target case value self limit")

TARGETS = {
    "torch": "training step in units of PyTorch's own parametrization",
    "iteration": "one power iteration in units of two products",
}
LIMITS = {"torch": 1.0, "iteration": 1.5}
COLUMNS = ("plain", "torch")
HEADS = ("plain layer", "torch.nn", "iteration")


def figures(case):
    """Returns all ratios of a case."""
    found = dict(case["step"]["ratios"])
    if "iteration" in case:
        found["iteration"] = case["iteration"]
    return found


def verdicts(report):
    """Returns all figures of a report for which there is a target."""
    return [
        Verdict(
            target,
            case,
            figures(case)[target],
            case["step"]["ratios"]["self"],
            limit,
        )
        for case in report["cases"]
        for target, limit in LIMITS.items()
        if target in figures(case)
    ]


def allowed(verdict):
    """Returns the limit, up to the noise of a program against itself."""
    return verdict.limit * (1 + abs(verdict.self - 1))


def rows(report):
    """Returns the cells of every case."""
    for case in report["cases"]:
        found = figures(case)
        yield [
            plan.MODES[case["mode"]].title,
            case["method"],
            "dense" if len(case["shape"]) == 2 else "convolution",
            f"{case['step']['milliseconds']['ours']:.3g}",
            *(shown(found.get(c)) for c in (*COLUMNS, "iteration")),
            shown(found["self"]),
        ]


def tables(report):
    """Returns all figures as text."""
    heads = ["", "method", "layer", "ms", *HEADS, "self"]
    return timed_table(heads, rows(report), 12)


def targets(report):
    """Returns how many figures reach their targets, and which do not."""
    found = verdicts(report)
    missed = {
        f"{plan.MODES[v.case['mode']].title}, {v.case['method']}, input "
        f"{plan.written(v.case['shape'])}: {TARGETS[v.target]}": v
        for v in found
        if not v.value <= allowed(v)
    }
    return missing(found, missed)


def markdown(report):
    """Returns the table of README.md."""
    return table_and_misses(
        ["backend", "parametrization", "layer", "ms", *HEADS],
        [cells[:-1] for cells in rows(report)],
        "Milliseconds of a training step in float32 of Dense(1024) on "
        "(256, 1024) and Conv2D(128, 3) on (16, 28, 28, 64), medians of "
        "interleaved runs, and the same in units of the plain layer and of "
        "torch.nn with PyTorch's own parametrization (eager); one more "
        "power iteration in units of two matrix-vector products. "
        f"{describe(report['machine'])}.",
        targets(report),
    )
