"""Tables of the figures of `ci/benchmark weights`. Standard library only."""

import collections

from benchmarks import plan
from benchmarks.report import describe
from benchmarks.report import shown
from benchmarks.report import wrapped

Verdict = collections.namedtuple("Verdict", "target case value limit")

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
        Verdict(target, case, figures(case)[target], limit)
        for case in report["cases"]
        for target, limit in LIMITS.items()
        if target in figures(case)
    ]


def allowed(verdict):
    """Returns the limit, up to the noise of a program against itself."""
    noise = abs(verdict.case["step"]["ratios"]["self"] - 1)
    return verdict.limit * (1 + noise)


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
    head = ["", "method", "layer", "ms", *HEADS, "self"]
    lines = ["Training step: milliseconds, and in units of ..."]
    for cells in [head, *rows(report)]:
        first, *rest = cells
        lines.append(f"{first:18}" + "".join(f"{c:>12}" for c in rest))
    return "\n".join(lines)


def targets(report):
    """Returns how many figures reach their targets, and which do not."""
    found = verdicts(report)
    missed = [v for v in found if not v.value <= allowed(v)]
    lines = [
        f"{len(found) - len(missed)} of {len(found)} figures reach their "
        f"target{', all but these:' if missed else '.'}",
        "",
    ]
    for v in missed:
        title = plan.MODES[v.case["mode"]].title
        lines.append(
            wrapped(
                f"* {title}, {v.case['method']}, input "
                f"{plan.written(v.case['shape'])}: {TARGETS[v.target]}: "
                f"{shown(v.value)}, not {v.limit:g} (self-ratio "
                f"{shown(v.case['step']['ratios']['self'])}).",
                "  ",
            )
        )
    return "\n".join(lines).rstrip()


def markdown(report):
    """Returns the table of README.md."""
    lines = [
        "| backend | parametrization | layer | ms | "
        + " | ".join(HEADS)
        + " |",
        "|---|---|---|---|" + "---|" * len(HEADS),
    ]
    for cells in rows(report):
        lines.append(f"| {' | '.join(cells[:-1])} |")
    lines += [
        "",
        wrapped(
            "Milliseconds of a training step in float32 of Dense(1024) on "
            "(256, 1024) and Conv2D(128, 3) on (16, 28, 28, 64), medians of "
            "interleaved runs, and the same in units of the plain layer and of "
            "torch.nn with PyTorch's own parametrization (eager); one more "
            "power iteration in units of two matrix-vector products. "
            f"{describe(report['machine'])}."
        ),
        "",
        targets(report),
    ]
    return "\n".join(lines)
