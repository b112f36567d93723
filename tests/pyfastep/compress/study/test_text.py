"""The report as text: what is missing is said, and no interval is made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from pyfastep.compress.study import runner
from pyfastep.compress.study.results import StudyReport
from pyfastep.compress.study.runner import run_study

from .fakes import STUDY, fake_compress


def test_text_says_what_is_missing(report: StudyReport) -> None:
    text = (report.output / "study.md").read_text()
    assert "**Partial: 6 of 9 runs are finished.** Missing: late, seed 0; late, seed 1; late, seed 2." in text
    assert "| 4x1 | 3 | 80.0% | 91.00 ± 2.48 | 2.00 ± 0.00 | 0.50 ± 0.00 |" in text
    assert "| late (missing: seed 0, 1, 2) | 0 | - | - | - | - |" in text
    assert "| 4x4 | 2.00 ± 0.00 | 4.00 ± 0.00 | 100 | 2.00 | 1.5 | 3.0 |" in text
    assert "| 4x1 >= 4x4 | 3 | 1.00 ± 0.00 | holds |" in text
    assert "dense model: accuracy 93.00 ± 2.48 (3 seeds)" in text
    assert "![quality against speed](study.png)" in text


def test_one_seed_has_no_interval(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runner, "compress", fake_compress)
    run_study(replace(STUDY, seeds=(4,)), tmp_path)
    text = (tmp_path / "study.md").read_text()
    assert "| 4x1 | 1 | 80.0% | 94.00 | 2.00 | 0.50 |" in text
    assert "| 4x1 >= 4x4 | 1 | 1.00 | not decided |" in text
