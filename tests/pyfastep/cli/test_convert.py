"""`fastep convert`: what it prints, and that a failure is one line and exit code 1."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pyfastep.cli.convert import print_report, short_name
from pyfastep.passes.base import Refusal
from pyfastep.passes.report import ConversionReport, LayerReport


def fastep(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from pyfastep.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_converts(quantized_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "fast.onnx"
    done = fastep("convert", quantized_model, "-o", target, "--verify")
    assert done.returncode == 0, done.stderr
    assert target.is_file()
    assert "linears converted" in done.stdout
    assert "largest difference" in done.stdout


def test_no_figure_is_lost_without_a_terminal(quantized_model: Path) -> None:
    done = fastep("convert", quantized_model)
    assert "…" not in done.stdout
    assert "estimated from the zeros" in done.stdout


def test_json(quantized_model: Path) -> None:
    done = fastep("convert", quantized_model, "--exact", "--json")
    data = json.loads(done.stdout)
    assert data["exact"] is True
    assert data["layers"]
    assert data["file_bytes_after"] == 0


@pytest.mark.parametrize("problem", ["missing", "truncated", "own file"])
def test_failures_are_one_line(quantized_model: Path, tmp_path: Path, problem: str) -> None:
    source = tmp_path / "source.onnx"
    if problem != "missing":
        data = quantized_model.read_bytes()
        source.write_bytes(data[: len(data) // 2] if problem == "truncated" else data)
    before = sorted(tmp_path.iterdir())
    done = fastep("convert", source, "-o", source if problem == "own file" else tmp_path / "fast.onnx")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert "source.onnx" in done.stderr
    assert not done.stdout
    assert sorted(tmp_path.iterdir()) == before


LAYER = LayerReport(
    name="/bert/encoder/layer.0/attention/self/query/MatMul",
    n=384,
    k=1536,
    structure="4x1",
    density=0.2,
    block_density=0.21,
    kernel="4x1",
    stored="4x1 blocks, uint8 gaps",
    bytes_before=589824,
    bytes_after=147456,
    bias=True,
    activation="gelu",
    output="u8",
    dropped_pairs=1,
    note="a note",
)


def test_the_table() -> None:
    report = ConversionReport(
        [LAYER], [Refusal("head/MatMul", "weights are float")], [], False, 2_000_000, 1_000_000, 0.125
    )
    out = io.StringIO()
    print_report(report, Console(file=out, width=140))
    text = out.getvalue()
    for part in (
        "1 linears converted, 1 left alone",
        "384 x 1536",
        "4x1",
        "20%",
        "21%",
        "bias+gelu+u8",
        "590 -> 147",
        "a note",
        "left alone: head/MatMul: weights are float",
        "file: 2.0 MB -> 1.0 MB",
        "random inputs: 0.125",
    ):
        assert part in text, part


def test_short_names() -> None:
    assert len(short_name(LAYER.name)) == 36
    assert short_name(LAYER.name).endswith("layer.0/attention/self/query")
    assert short_name("p1") == "p1"
    assert short_name("/a/MatMul") == "/a"
