"""`fastep profile`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyfastep.cli import main

pytestmark = pytest.mark.usefixtures("fastep_library")
FEW = ["--runs", "3", "--length", "5"]


def test_tables(fast_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(fast_model), *FEW, "--top", "2", "--what-if"]) == 0
    printed = capsys.readouterr().out
    for part in ("by op", "session.run", "100.0%", "FastEP, between steps", "slowest 2 of", "what if", "4x4 80%"):
        assert part in printed
    assert "1 x 5 tokens, 1 thread, tier" in printed
    assert "…" not in printed, "nothing is cut off"


def test_files(fast_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, chart = tmp_path / "r.json", tmp_path / "c.svg"
    assert main(["profile", str(fast_model), *FEW, "-b", "2", "--json", str(report), "--chart", str(chart)]) == 0
    data = json.loads(report.read_text())
    assert (data["format"], data["batch"], data["length"], data["runs"]) == ("fastep-profile-report", 2, 5, 3)
    assert "<svg" in chart.read_text()
    assert "by op" in capsys.readouterr().out


def test_a_model_that_was_not_converted(float_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(float_model), *FEW, "--top", "3", "--what-if"]) == 0
    printed = capsys.readouterr().out
    assert "hint: FastEP runs nothing of this model" in printed
    assert "MatMul" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "0"], "runs must be at least 1"),
        (["--chart", "c.bmp"], "expected a chart file that ends in .svg, .png, .pdf"),
        (["--json", "missing/r.json"], "missing"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_measured(
    fast_model: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(fast_model), "--length", "5", *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "by op" not in captured.out
