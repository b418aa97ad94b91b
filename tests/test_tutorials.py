"""The tutorials run, in their quick form, and keep their pictures."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9]*.py"))
# Of a quick run; most of it is what the backend takes to compile.
SECONDS = 60


@pytest.mark.once
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_quick_form_runs(path):
    pictures = {p: p.stat().st_mtime_ns for p in path.parent.glob("*.png")}
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, path, "--quick"],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "MPLBACKEND": "Agg",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    # Others may run beside it on the same cores: twice the time is allowed.
    assert time.monotonic() - start < 2 * SECONDS
    now = {p: p.stat().st_mtime_ns for p in path.parent.glob("*.png")}
    assert now == pictures


@pytest.mark.once
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_pictures_are_there_and_small(path):
    text = path.read_text()
    shown = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert shown, f"{path.name} shows no picture"
    for name in shown:
        assert (path.parent / name).stat().st_size < 200_000, name


@pytest.mark.once
def test_there_are_tutorials():
    assert len(TUTORIALS) >= 2
