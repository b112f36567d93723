"""Numbers of cells from reports of runs, as far as there are any."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from pyfastep.compress.study.plan import Cell, Ordering
from pyfastep.compress.study.results import StudyReport
from pyfastep.compress.study.runner import run_study

from .fakes import STUDY


def test_cells(report: StudyReport) -> None:
    first, second, late = report.cells
    assert first.final is not None
    assert second.final is not None
    assert (first.final.mean, second.final.mean) == (91.0, 90.0)
    assert first.final.margin == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert (first.loss, first.int8_loss) != (None, None)
    assert first.loss is not None
    assert (first.loss.mean, first.loss.margin) == (2.0, 0.0)
    assert first.speedup["1 x 64"].mean == 4.0
    assert set(first.speed_ms) == {"1 x 64"}  # what was not measured is left out
    assert (first.steps, first.tokens, first.minutes, first.cpu_minutes) == (100, 2e6, 1.5, 3.0)
    assert late.final is None
    assert late.missing == (0, 1, 2)
    assert report.dense is not None
    assert report.dense.count == 3


def test_a_control_with_another_dense_model_does_not_count_as_the_dense_one(report: StudyReport) -> None:
    """The control comes first, but most cells begin with the ordinary dense model."""
    hidden = Cell("hidden", ("dense.steps=1",))
    study = replace(STUDY, cells=(hidden, *STUDY.cells), seeds=(0,))
    found = run_study(study, report.output, only=["hidden"])
    assert found.dense is not None
    assert [(row.cell, row.dense) for row in found.outcomes] == [("hidden", 42.0), ("4x1", 92.0), ("4x4", 91.0)]
    assert found.dense.mean == 92.0
    assert found.dense_cpu_minutes == 2.0


def test_all_pairs_or_those_asked_for(report: StudyReport) -> None:
    (pair,) = report.orderings
    assert (pair.better, pair.worse, pair.verdict, pair.difference.mean) == ("4x1", "4x4", "holds", 1.0)
    asked = replace(STUDY, orderings=(Ordering("4x4", "4x1"), Ordering("4x1", "late")))
    (pair,) = run_study(asked, report.output, report_only=True).orderings
    assert (pair.better, pair.verdict) == ("4x4", "reversed")


def test_complete(report: StudyReport) -> None:
    run_study(STUDY, report.output)
    assert "Partial" not in (report.output / "study.md").read_text()
    known = json.loads((report.output / "study.json").read_text())
    assert known["complete"] is True
    assert len(known["outcomes"]) == 9
    assert known["cells"][0]["final"]["mean"] == 91.0


def test_nothing_yet(tmp_path: Path) -> None:
    report = run_study(STUDY, tmp_path, report_only=True)
    assert not report.outcomes
    assert "0 of 9 runs" in (tmp_path / "study.md").read_text()
