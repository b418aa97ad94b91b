"""A pytest plugin for ci/test: leaves out tiers, reports what happened."""

import collections
import json
import pathlib

import pytest

_OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


def pytest_addoption(parser):
    parser.addoption("--summary-json", type=pathlib.Path, required=True)
    parser.addoption("--leave-out", action="append", default=[])


def pytest_configure(config):
    config.pluginmanager.register(_Summary(config))


class _Summary:
    """Counts outcomes, reasons for skipping, and what was not selected."""

    def __init__(self, config):
        self.config = config
        self.deselected = collections.Counter()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        # After -k and -m, so that every test is counted under one reason.
        # Markers do not do it: a -m of the user would replace ours.
        for tier in self.config.getoption("--leave-out"):
            left_out = [i for i in items if i.get_closest_marker(tier)]
            if left_out:
                items[:] = [i for i in items if not i.get_closest_marker(tier)]
                self.config.hook.pytest_deselected(items=left_out)
                self.deselected[tier] += len(left_out)
                self.deselected["other"] -= len(left_out)

    def pytest_deselected(self, items):
        self.deselected["other"] += len(items)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self):
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["deselected"] = dict(self.deselected)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        # Every worker of pytest-xdist collects, and deselects, everything.
        counts = getattr(node, "workeroutput", {}).get("deselected", {})
        self.deselected = collections.Counter(counts)

    def pytest_terminal_summary(self, terminalreporter):
        stats = terminalreporter.stats
        reasons = collections.Counter(
            report.longrepr[2].removeprefix("Skipped: ")
            for report in stats.get("skipped", [])
        )
        notes = [
            value
            for reports in stats.values()
            for report in reports
            for name, value in getattr(report, "user_properties", [])
            if name == "summary"
        ]
        summary = {
            "counts": {name: len(stats.get(name, [])) for name in _OUTCOMES},
            "deselected": dict(+self.deselected),
            "skip_reasons": dict(reasons),
            "notes": list(dict.fromkeys(notes)),
        }
        path = self.config.getoption("--summary-json")
        path.write_text(json.dumps(summary))
