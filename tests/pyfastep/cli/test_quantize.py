"""`fastep quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyfastep.cli import main


def test_it_writes_the_same_file_as_the_function(
    float_model: Path, quantized_model: Path, calibration: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, batch in enumerate(calibration):
        np.savez(tmp_path / f"{index}.npz", **batch)
    output = tmp_path / "q.onnx"
    assert main(["quantize", str(float_model), "--data", str(tmp_path), "-o", str(output)]) == 0
    assert output.read_bytes() == quantized_model.read_bytes()
    assert "5 weights quantized (16 samples, minmax)" in capsys.readouterr().out


def test_options_reach_it(float_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.jsonl").write_text("[1, 2, 3]\n[4, 5]\n[6]\n")
    arguments = ["--exclude", "up", "--exclude", "down", "--no-attention", "--embeddings", "--method", "percentile"]
    command = ["quantize", str(float_model), "--data", str(tmp_path / "x.jsonl"), "-o", str(tmp_path / "q.onnx")]
    assert main([*command, *arguments, "--max-samples", "2", "--batch-size", "1"]) == 0
    assert "3 weights quantized, 2 left float (2 samples, percentile)" in capsys.readouterr().out
    assert main([*command, "--method", "best"]) == 1
    assert "known are minmax, percentile, entropy" in capsys.readouterr().err
