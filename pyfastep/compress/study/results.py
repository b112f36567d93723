"""What a study found: read from the reports of its runs, as far as they are finished, and written as text and chart."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyfastep.compress import forms
from pyfastep.compress.study.plan import Run, Study
from pyfastep.compress.study.runner import failure, finished_report
from pyfastep.compress.study.statistics import Comparison, Estimate, compare, estimate

__all__ = ["CellResult", "Outcome", "StudyReport", "write_study"]

# The dense training is apart: it is the same for every cell of a seed.
_OWN_TRAININGS = ("train", "qat")


@dataclass(frozen=True)
class Outcome:
    """A finished run in numbers.

    Attributes:
        cell: Its cell.
        seed: Its seed.
        dense: Chief figure of the dense model.
        pruned: Of the pruned float model, before anything of quantization, QAT included.
        final: Of the final file.
        figures: All figures of the final file.
        sparsity: Measured over the pruned layers; None where nothing was pruned.
        speed_ms: Median per call of the final file, by ``batch x length``.
        speedup: Times dense FP32 in ONNX Runtime, likewise.
        steps: Of all trainings but the dense one.
        tokens: Seen by those, padding not counted.
        seconds: Of those and of pruning at once, wall clock.
        cpu_seconds: The same, of all threads.
        dense_cpu_seconds: Of the dense training.
        machine: The machine, in words.
    """

    cell: str
    seed: int
    dense: float
    pruned: float
    final: float
    figures: dict[str, float]
    sparsity: float | None
    speed_ms: dict[str, float]
    speedup: dict[str, float]
    steps: int
    tokens: int
    seconds: float
    cpu_seconds: float
    dense_cpu_seconds: float
    machine: str


@dataclass(frozen=True)
class CellResult:
    """A cell over its seeds; estimates are None where no run is finished.

    Attributes:
        name: Of the cell.
        seeds: Those that are finished.
        missing: Those that are not.
        sparsity: Measured.
        final: Chief figure of the final file.
        loss: ``dense - final``, paired by seed.
        int8_loss: ``pruned float - final``, paired by seed.
        figures: Of the final file.
        speed_ms: Medians per call, by ``batch x length``.
        speedup: Times dense FP32 in ONNX Runtime.
        steps: Mean per run.
        tokens: Mean per run.
        minutes: Mean per run, wall clock.
        cpu_minutes: Mean per run.
    """

    name: str
    seeds: tuple[int, ...]
    missing: tuple[int, ...]
    sparsity: Estimate | None
    final: Estimate | None
    loss: Estimate | None
    int8_loss: Estimate | None
    figures: dict[str, Estimate]
    speed_ms: dict[str, Estimate]
    speedup: dict[str, Estimate]
    steps: float
    tokens: float
    minutes: float
    cpu_minutes: float


@dataclass(frozen=True)
class StudyReport:
    """A study, as far as it is done.

    Attributes:
        study: What was asked for.
        output: Its folder.
        chief_figure: What quality is measured by; empty while no run is finished.
        dense: Chief figure of the dense model that most cells begin with, one value per seed.
        dense_cpu_minutes: Of its training, mean per seed.
        cells: In the study's order.
        orderings: Pairs, in the study's order.
        outcomes: Of each finished run.
        missing: Names of runs that are not finished.
        failures: Run to reason.
    """

    study: Study
    output: Path
    chief_figure: str
    dense: Estimate | None
    dense_cpu_minutes: float
    cells: tuple[CellResult, ...]
    orderings: tuple[Comparison, ...]
    outcomes: tuple[Outcome, ...]
    missing: tuple[str, ...]
    failures: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether every run is finished."""
        return not self.missing

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "output": str(self.output), "complete": self.complete}


def write_study(study: Study, runs: Sequence[Run], output: Path) -> StudyReport:
    """Gathers what is finished and writes ``study.md``, ``study.json`` and ``study.png``."""
    from pyfastep.compress.study.chart import draw_study
    from pyfastep.compress.study.text import to_markdown

    output.mkdir(parents=True, exist_ok=True)
    report = _gather(study, runs, output)
    (output / "study.json").write_text(json.dumps(report.to_dict(), indent=1), encoding="utf-8")
    drawn = draw_study(report, output / "study.png")
    (output / "study.md").write_text(to_markdown(report, chart=drawn), encoding="utf-8")
    return report


def _gather(study: Study, runs: Sequence[Run], output: Path) -> StudyReport:
    outcomes, missing, failures, chief = [], [], {}, ""
    for run in runs:
        path = finished_report(run, output)
        if path is None:
            name = f"{run.cell}, seed {run.seed}"
            missing.append(name)
            if reason := failure(run, output):
                failures[name] = reason
        else:
            report = json.loads(path.read_text(encoding="utf-8"))
            chief = report["chief_figure"]
            outcomes.append(_outcome(run, report))
    cells = tuple(_cell(cell.name, runs, outcomes) for cell in study.all_cells)
    dense = _dense(runs, outcomes)
    return StudyReport(
        study=study,
        output=output,
        chief_figure=chief,
        dense=estimate([row.dense for row in dense]),
        dense_cpu_minutes=sum(row.dense_cpu_seconds / 60 for row in dense) / max(1, len(dense)),
        cells=cells,
        orderings=_orderings(study, outcomes),
        outcomes=tuple(outcomes),
        missing=tuple(missing),
        failures=failures,
    )


def _dense(runs: Sequence[Run], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """For each seed one outcome of those that begin with its usual dense model; a control may have one of its own."""
    found: list[Outcome] = []
    begins = {(run.cell, run.seed): run.digests["dense"] for run in runs}
    for seed in dict.fromkeys(run.seed for run in runs):
        usual = Counter(begins[run.cell, seed] for run in runs if run.seed == seed).most_common(1)[0][0]
        rows = [row for row in outcomes if row.seed == seed and begins[row.cell, seed] == usual]
        found += rows[:1]
    return found


def _outcome(run: Run, report: dict[str, Any]) -> Outcome:
    figures, chief = report["figures"], report["chief_figure"]
    form = forms.FAST if forms.FAST in figures else forms.PRUNED_STOCK
    speeds = {
        f"{row['batch']} x {row['length']}": row
        for row in report["bench"].get("measurements", [])
        if row["engine"] == forms.ENGINES[form] and row["median_ms"] is not None
    }
    costs = {step: log["cost"] for step, log in report["trainings"].items() if log["cost"]}
    own = [costs[step] for step in _OWN_TRAININGS if step in costs]
    at_once = [found] if (found := (report["sparsity"] or {}).get("cost")) else []
    return Outcome(
        cell=run.cell,
        seed=run.seed,
        dense=figures[forms.DENSE][chief],
        pruned=figures[forms.PRUNED][chief],
        final=figures[form][chief],
        figures=figures[form],
        sparsity=report["sparsity"]["report"]["sparsity"] if report["sparsity"] else None,
        speed_ms={shape: row["median_ms"] for shape, row in speeds.items()},
        speedup={shape: row["speedup"] for shape, row in speeds.items() if row.get("speedup") is not None},
        steps=sum(cost["steps"] for cost in own),
        tokens=sum(cost["tokens"] for cost in own),
        seconds=sum(cost["seconds"] for cost in own + at_once),
        cpu_seconds=sum(cost["cpu_seconds"] for cost in own + at_once),
        dense_cpu_seconds=costs["dense"]["cpu_seconds"] if "dense" in costs else 0.0,
        machine=report["machine"],
    )


def _cell(name: str, runs: Sequence[Run], outcomes: Sequence[Outcome]) -> CellResult:
    rows = [row for row in outcomes if row.cell == name]
    wanted = [run.seed for run in runs if run.cell == name]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    def by_name(tables: list[dict[str, float]]) -> dict[str, Estimate]:
        names = dict.fromkeys(key for table in tables for key in table)
        found = {key: estimate([table[key] for table in tables if key in table]) for key in names}
        return {key: value for key, value in found.items() if value}

    return CellResult(
        name=name,
        seeds=tuple(row.seed for row in rows),
        missing=tuple(seed for seed in wanted if seed not in {row.seed for row in rows}),
        sparsity=estimate([row.sparsity for row in rows if row.sparsity is not None]),
        final=estimate([row.final for row in rows]),
        loss=estimate([row.dense - row.final for row in rows]),
        int8_loss=estimate([row.pruned - row.final for row in rows]),
        figures=by_name([row.figures for row in rows]),
        speed_ms=by_name([row.speed_ms for row in rows]),
        speedup=by_name([row.speedup for row in rows]),
        steps=mean([row.steps for row in rows]),
        tokens=mean([row.tokens for row in rows]),
        minutes=mean([row.seconds / 60 for row in rows]),
        cpu_minutes=mean([row.cpu_seconds / 60 for row in rows]),
    )


def _orderings(study: Study, outcomes: Sequence[Outcome]) -> tuple[Comparison, ...]:
    """Those asked for, or all pairs, the better one first."""
    values: dict[str, dict[int, float]] = {}
    for row in outcomes:
        values.setdefault(row.cell, {})[row.seed] = row.final
    if study.orderings:
        pairs = [(ordering.better, ordering.worse) for ordering in study.orderings]
        found = [compare(better, worse, values) for better, worse in pairs]
    else:
        ranked = sorted(values, key=lambda cell: -sum(values[cell].values()) / len(values[cell]))
        found = [compare(better, worse, values) for better, worse in itertools.combinations(ranked, 2)]
    return tuple(row for row in found if row)
