"""`fastep compile`: what it prints and writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def fastep(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The installed command: the sources in this folder hold no library."""
    code = "import sys; from pyfastep.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_compiles(fast_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    done = fastep("compile", fast_model, "-o", target, "--max-tier", "scalar")
    assert done.returncode == 0, done.stderr
    assert "compiled for scalar" in done.stdout
    assert "c_fastep.bin" in done.stdout
    assert target.is_file()


def test_json_and_one_file(fast_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "c.onnx"
    done = fastep("compile", fast_model, "-o", target, "--embed", "--json")
    plans = json.loads(done.stdout)
    assert plans
    assert {plan["file"] for plan in plans} == {str(target)}
    assert [path.name for path in tmp_path.iterdir()] == ["c.onnx"]


def test_failures_are_one_line(float_model: Path, tmp_path: Path) -> None:
    done = fastep("compile", float_model, "-o", tmp_path / "c.onnx")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "fastep convert" in done.stderr
    assert not list(tmp_path.iterdir())
