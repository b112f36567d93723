"""The chart is there where speed was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from pyfastep.compress.study.chart import draw_study
from pyfastep.compress.study.results import StudyReport


def test_drawn_where_speed_was_measured(report: StudyReport, tmp_path: Path) -> None:
    assert (report.output / "study.png").read_bytes().startswith(b"\x89PNG")
    unmeasured = replace(report, cells=tuple(replace(cell, speedup={}) for cell in report.cells))
    (tmp_path / "old.png").touch()
    assert not draw_study(unmeasured, tmp_path / "old.png")
    assert not (tmp_path / "old.png").exists()
