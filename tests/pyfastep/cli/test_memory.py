"""`fastep memory`: a table, or JSON."""

from __future__ import annotations

import json
from pathlib import Path

from .test_compile import fastep


def test_a_table(fast_model: Path, quantized_model: Path) -> None:
    done = fastep("memory", fast_model, f"ort:stock={quantized_model}", "--length", "7")
    assert done.returncode == 0, done.stderr
    assert "fastep fast.onnx" in done.stdout
    assert "stock" in done.stdout


def test_json(fast_model: Path) -> None:
    (row,) = json.loads(fastep("memory", fast_model, "--length", "7", "--json").stdout)
    assert row["engine"] == "fastep"
    assert row["load_seconds"] > 0
