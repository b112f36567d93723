"""`fastep profile`."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import pyfastep
from pyfastep.cli import main
from pyfastep.cli.profile import LEAST_WIDTH, print_report

pytestmark = pytest.mark.usefixtures("fastep_library")
FEW = ["--runs", "3", "--length", "5"]


def test_tables(fast_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(fast_model), *FEW, "--top", "2", "--what-if"]) == 0
    printed = capsys.readouterr().out
    for part in ("by op", "session.run", "100.0%", "FastEP, between steps", "slowest 2 of", "what if", "4x4 80%"):
        assert part in printed
    assert "1 x 5 tokens, 1 thread, tier" in printed
    assert "…" not in printed, "nothing is cut off"


def test_long_names_fit(fast_model: Path) -> None:
    """Real models: names of many parts, thousands of inputs, times of many digits."""
    report = pyfastep.profile(fast_model, length=5, runs=1)
    steps = tuple(
        replace(step, nodes=(f"/bert/encoder/layer.{i}/attention/output/dense/MatMul", "x", "y"), ms=1234.5, macs=1e12)
        for i, step in enumerate(report.steps)
    )
    steps = tuple(replace(step, n=12288, k=12288, kernel="dense") for step in steps)
    file = io.StringIO()
    console = Console(file=file, width=LEAST_WIDTH)
    print_report(replace(report, steps=steps), console, top=3, what_if=True)
    printed = file.getvalue()
    assert "12288 x 12288" in printed
    assert "1234.500" in printed
    assert "…" not in printed


def test_files(fast_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, chart = tmp_path / "r.json", tmp_path / "c.svg"
    assert main(["profile", str(fast_model), *FEW, "-b", "2", "--json", str(report), "--chart", str(chart)]) == 0
    data = json.loads(report.read_text())
    assert (data["format"], data["batch"], data["length"], data["runs"]) == ("fastep-profile-report", 2, 5, 3)
    assert "<svg" in chart.read_text()
    assert "by op" in capsys.readouterr().out


def test_a_model_that_was_not_converted(float_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(float_model), *FEW, "--top", "99", "--what-if"]) == 0
    printed = capsys.readouterr().out
    assert "hint: FastEP runs nothing of this model" in printed
    assert "MatMul" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "0"], "runs must be at least 1"),
        (["--threads", "99999999999"], "threads must be at most 1024"),
        (["--batch", "99999999999999"], "no array of shape"),
        (["--chart", "c.bmp"], "expected a chart file that ends in .svg, .png, .pdf"),
        (["--json", "missing/r.json"], "missing: the output's folder does not exist"),
        (["--json", "."], "the output is a folder"),
        (["--json", "{model}"], "would overwrite its source"),
        (["--chart", "{model}"], "would overwrite its source"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(
    fast_model: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [argument.format(model=fast_model) for argument in arguments]
    before = fast_model.read_bytes()
    assert main(["profile", str(fast_model), "--length", "5", *arguments]) == 1
    assert fast_model.read_bytes() == before
    captured = capsys.readouterr()
    assert message in captured.err
    assert "by op" not in captured.out
