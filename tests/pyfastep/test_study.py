"""A study of real, tiny runs from the command line: shared steps, a failure, a second run, the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("optimum.onnxruntime")

from pyfastep.cli import main

TEXT = """
name = "trial"
recipe = "smoke"
set = [
    "data.train_samples=64", "data.eval_samples=16", "data.calibration_samples=8", "dense.steps=2", "train.steps=3",
    "bench.repeats=1", "bench.seconds=0.1",
]
keep = "report"

[grid]
"prune.pattern" = ["4x1", "4x4"]

[[cells]]
name = "broken"
set = ["prune.include=['nothing*']"]
"""


def test_a_study_from_its_first_run_to_its_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "trial.toml", tmp_path / "out"
    file.write_text(TEXT)
    command = ["study", str(file), "-o", str(output), "--set", "train.steps=2"]
    assert main(command) == 1  # one run failed
    told = " ".join(capsys.readouterr().out.split())
    assert "failed: broken, seed 0: pattern 'nothing*' matches no nn.Linear" in told
    study = json.loads((output / "study.json").read_text())
    assert [row["cell"] for row in study["outcomes"]] == ["pattern 4x1", "pattern 4x4"]
    assert study["missing"] == ["broken, seed 0"]
    assert all(row["speedup"]["1 x 64"] > 0 and row["steps"] == 2 for row in study["outcomes"])
    first, second = (output / "runs" / f"pattern-{pattern}" / "seed-0" for pattern in ("4x1", "4x4"))
    weights = [run / "steps" / "dense" / "model" / "model.safetensors" for run in (first, second)]
    assert weights[0].samefile(weights[1])  # trained once, stored once
    reports = [json.loads((run / "report.json").read_text()) for run in (first, second)]
    assert [report["skipped"] for report in reports] == [[], ["data", "dense", "reference"]]
    assert not (first / "model").exists()
    written = (first / "report.json").stat().st_mtime_ns
    assert main([*command, "--only", "pattern*"]) == 1  # nothing to do, one is missing
    assert (first / "report.json").stat().st_mtime_ns == written


def test_the_command_lists_studies_and_tells_errors(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["study", "--list"]) == 0
    assert "minilm-qa-patterns" in capsys.readouterr().out
    assert main(["study", "nowhere.toml", "-o", str(tmp_path / "x")]) == 1
    assert "nowhere.toml: no such study file" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
