"""The tutorials run, and what they show is kept beside them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tutorials"
SCRIPTS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
# Of the quick form of each, and bytes of each picture.
SECONDS = 120
BYTES = 200_000

pytestmark = pytest.mark.once
each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def pictures():
    """{path: (time of writing, content)} of what is kept."""
    return {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in FOLDER.glob("*.png")
    }


def execute(*command):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        # Of the caller, the backend; here, the tutorial's own data only.
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
    )


@each
def test_quick_form_runs_and_leaves_the_pictures_alone(script):
    pytest.importorskip("matplotlib", reason="the tutorials draw pictures")
    before = pictures()
    result = execute(script, "--quick")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout
    assert pictures() == before


@each
def test_is_a_script_of_cells_with_a_title(script):
    text = script.read_text("utf-8")
    assert re.match(r"# %% \[markdown\]\n# # \w", text)
    cells = re.findall(r"^# %%(.*)$", text, re.M)
    assert set(cells) == {"", " [markdown]"}


@each
def test_every_picture_is_drawn_shown_and_small(script):
    text = script.read_text("utf-8")
    drawn = set(re.findall(r'keep\(\s*figure, "([^"]+)"', text))
    assert drawn
    assert drawn == set(re.findall(r"^# !\[[^]]+\]\(([^)]+)\)", text, re.M))
    for name in drawn:
        assert name.startswith(script.stem)
        assert 0 < (FOLDER / name).stat().st_size < BYTES


def test_no_picture_is_left_over():
    stems = tuple(script.stem for script in SCRIPTS)
    assert all(p.name.startswith(stems) for p in FOLDER.glob("*.png"))
    assert len(SCRIPTS) >= 2


def test_command_refuses_what_does_not_exist():
    result = execute(ROOT / "ci" / "tutorials", "--no-install", "nonsense")
    assert result.returncode == 1
    for script in SCRIPTS:
        assert script.stem in result.stderr


def test_command_fails_with_a_tutorial(tmp_path):
    # A copy of the commands with tutorials of its own.
    (tmp_path / "ci").mkdir()
    for name in ("tutorials", "environment.py"):
        (tmp_path / "ci" / name).write_text((ROOT / "ci" / name).read_text())
    (tmp_path / "tutorials").mkdir()
    for name, code in {"01_good": "print('drawn')", "02_bad": "1 / 0"}.items():
        (tmp_path / "tutorials" / f"{name}.py").write_text(code)
    command = [tmp_path / "ci" / "tutorials", "--no-install"]
    if sys.prefix == sys.base_prefix:
        pytest.skip("--no-install needs a virtual environment")
    result = execute(*command)
    assert result.returncode == 1
    assert "drawn" in result.stdout
    assert "FAILED: 02_bad" in result.stdout
    assert execute(*command, "01").returncode == 0
