"""`fastep quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyfastep
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


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--method", "percentile", "--percentile", "80"], {"method": "percentile", "percentile": 80.0}),
        (["--method", "percentile"], {"method": "percentile"}),
        (["--max-length", "3"], {"max_length": 3}),
        (["--product-outputs"], {"product_outputs": True}),
    ],
    ids=["percentile", "method", "max-length", "product-outputs"],
)
def test_options_are_those_of_the_function(
    float_model: Path, tmp_path: Path, arguments: list[str], options: dict[str, Any]
) -> None:
    data, written, expected, usual = (tmp_path / name for name in ("x.jsonl", "a.onnx", "b.onnx", "c.onnx"))
    data.write_text("[1, 2, 3, 4, 5, 6, 7]\n[11, 12, 13, 14]\n")
    assert main(["quantize", str(float_model), "--data", str(data), "-o", str(written), *arguments]) == 0
    pyfastep.quantize(float_model, expected, data=data, **options)
    assert written.read_bytes() == expected.read_bytes()
    pyfastep.quantize(float_model, usual, data=data)
    assert written.read_bytes() != usual.read_bytes()


def test_a_sequence_is_cut_to_the_length_asked_for(
    float_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last token stays; that before it is none of the vocabulary."""
    (tmp_path / "x.jsonl").write_text("[1, 2, 999, 3]\n")
    command = ["quantize", str(float_model), "--data", str(tmp_path / "x.jsonl"), "-o", str(tmp_path / "q.onnx")]
    assert main([*command, "--max-length", "3"]) == 0
    assert main([*command, "--max-length", "4"]) == 1
    assert "vocabulary" in capsys.readouterr().err
