"""Every run once, failures kept apart, and what a finished run keeps; `test_study.py` runs real ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from pyfastep.compress.recipe import Recipe
from pyfastep.compress.study import runner
from pyfastep.compress.study.runner import run_study
from pyfastep.errors import FastEPError

from .fakes import STUDY, fake_compress


class Runs:
    """Stands in for `compress`; fails where it is told to."""

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []
        self.reused: list[int] = []
        self.failing: dict[str, Exception] = {}

    def __call__(self, recipe: Recipe, output: Path, **options: Any) -> None:
        if recipe.prune.pattern in self.failing:
            raise self.failing[recipe.prune.pattern]
        self.done.append((recipe.prune.pattern, recipe.seed))
        self.reused.append(len(options["reuse"]))
        fake_compress(recipe, output)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    fake = Runs()
    monkeypatch.setattr(runner, "compress", fake)
    return fake


def test_all_run_once(runs: Runs, tmp_path: Path) -> None:
    assert run_study(STUDY, tmp_path).complete
    assert len(runs.done) == 9
    assert runs.done[:3] == [("4x1", 0), ("4x4", 0), ("4x1", 0)]
    assert set(runs.reused) == {8}
    run_study(STUDY, tmp_path, reuse=[tmp_path / "another"])
    assert len(runs.done) == 9
    run_study(replace(STUDY, set=("prune.sparsity=0.5",)), tmp_path)
    assert len(runs.done) == 18  # other recipes
    run_study(replace(STUDY, set=("prune.sparsity=0.5",)), tmp_path, fresh=True)
    assert len(runs.done) == 27


def test_fresh_concerns_the_chosen_cells_alone(runs: Runs, tmp_path: Path) -> None:
    run_study(STUDY, tmp_path)
    runs.done.clear()
    runs.reused.clear()
    report = run_study(STUDY, tmp_path, only=["4x4"], fresh=True)
    assert report.complete
    assert runs.done == [("4x4", 0), ("4x4", 1), ("4x4", 2)]
    assert set(runs.reused) == {2}  # nothing of what is not done anew


def test_fresh_is_no_report(runs: Runs, tmp_path: Path) -> None:
    run_study(STUDY, tmp_path)
    with pytest.raises(FastEPError, match="a report of what is finished"):
        run_study(STUDY, tmp_path, report_only=True, fresh=True)
    assert run_study(STUDY, tmp_path, report_only=True).complete


@pytest.mark.parametrize("error", [FastEPError("too\nbad", node="prune"), MemoryError("none left")])
def test_a_failure_costs_no_other_run_and_is_tried_again(runs: Runs, tmp_path: Path, error: Exception) -> None:
    runs.failing["4x4"] = error
    report = run_study(STUDY, tmp_path)
    assert len(report.outcomes) == 6
    assert report.missing == ("4x4, seed 0", "4x4, seed 1", "4x4, seed 2")
    told = "prune: too bad" if isinstance(error, FastEPError) else "MemoryError: none left"
    assert report.failures["4x4, seed 1"] == told
    assert f"failed: 4x4, seed 1: {told}" in (tmp_path / "study.md").read_text()
    runs.failing.clear()
    report = run_study(STUDY, tmp_path)
    assert report.complete
    assert report.failures == {}


def test_an_interruption_is_no_failure(runs: Runs, tmp_path: Path) -> None:
    runs.failing["4x4"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDY, tmp_path)
    report = run_study(STUDY, tmp_path, report_only=True)
    assert len(report.outcomes) == 1
    assert report.failures == {}


def test_some_cells_only(runs: Runs, tmp_path: Path) -> None:
    report = run_study(STUDY, tmp_path, only=["l*"])
    assert [row.cell for row in report.outcomes] == ["late"] * 3
    with pytest.raises(FastEPError, match=r"no cell matches 5x\* \(its cells are 4x1, 4x4, late\)"):
        run_study(STUDY, tmp_path, only=["5x*"])


def test_reports_alone_are_kept_once_nobody_needs_more(runs: Runs, tmp_path: Path) -> None:
    """``4x1`` and ``late`` are the same recipe, so all steps of the one are needed until the other is finished."""
    study = replace(STUDY, keep="report", seeds=(0,))
    run_study(study, tmp_path, only=["4x*"])
    kept = {cell: {path.name for path in (tmp_path / "runs" / cell / "seed-0").rglob("*")} for cell in ("4x1", "4x4")}
    assert kept["4x1"] >= {"dense", "export", "report.json"}
    assert kept["4x4"] >= {"dense", "report.json"}
    assert not kept["4x4"] & {"export", "model"}
    run_study(study, tmp_path)
    assert not (tmp_path / "runs" / "4x1" / "seed-0" / "steps" / "export").exists()
    assert run_study(study, tmp_path).complete
    assert len(runs.done) == 3


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FastEPError, match="expected a folder, found a file"):
        run_study(STUDY, tmp_path / "file")


def test_other_outputs_are_offered_too(runs: Runs, tmp_path: Path) -> None:
    run_study(STUDY, tmp_path / "one", reuse=[tmp_path / "two", str(tmp_path / "three")])
    assert set(runs.reused) == {8 + 2}


def test_a_study_can_be_divided(runs: Runs, tmp_path: Path) -> None:
    """Two files of each run are all that the report of the whole needs."""
    one, two = tmp_path / "one", tmp_path / "two"
    run_study(STUDY, one, only=["4x1"])
    run_study(STUDY, two, only=["4x4", "late"])
    runs.done.clear()
    for name in ("finished.json", "report.json"):
        for path in two.glob(f"runs/*/*/{name}"):
            target = one / path.relative_to(two)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    assert run_study(STUDY, one).complete
    assert not runs.done
