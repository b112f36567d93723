"""Runs a study: each cell and seed in its own folder, steps that are the same taken over from the runs before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pyfastep._extras import require
from pyfastep.compress.pipeline import compress
from pyfastep.compress.study.plan import Run, Study
from pyfastep.compress.workspace import digest_of
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from pyfastep.compress.study.results import StudyReport

__all__ = ["RUNS", "Progress", "failure", "finished_report", "run_study"]

Progress = Callable[[Run, str, float, str], None]
"""Called with the run, the name of its step, the share of that which is done, and what is being done."""

RUNS = "runs"
_FINISHED, _FAILED = "finished.json", "failed.txt"
# Steps that a cell added later can begin with; in all runs of a seed they are one set of files.
_KEPT = ("data", "dense", "reference")


def run_study(
    study: Study,
    output: str | os.PathLike[str],
    *,
    only: Collection[str] = (),
    report_only: bool = False,
    fresh: bool = False,
    reuse: Sequence[str | os.PathLike[str]] = (),
    progress: Progress | None = None,
) -> StudyReport:
    """Runs what is not finished yet, and reports.

    ``output`` gets ``study.md``, ``study.json``, ``study.png`` and ``runs/<cell>/seed-<n>``, each what
    :func:`pyfastep.compress.compress` leaves. The report is written anew after every run, with what is missing marked.
    An interrupted study goes on; a run that fails is reported and tried again the next time, the others go on.

    Args:
        study: From :func:`pyfastep.compress.load_study`, or constructed.
        output: A folder.
        only: Glob patterns of cells to run now; empty: all.
        report_only: Run nothing.
        fresh: Do every chosen run anew; what others left is neither removed nor taken over.
        reuse: Outputs of other runs or studies: their finished steps are taken over where they are the same.
        progress: Called often.

    Raises:
        FastEPError: The study itself cannot be run: a recipe is wrong, no cell matches ``only``, ``report_only`` and
            ``fresh`` exclude each other, or packages of the extra ``compress`` are missing.
    """
    require("compress")
    from pyfastep.compress.study.results import write_study

    if report_only and fresh:
        raise FastEPError(
            "nothing is done anew for a report of what is finished", remedy="leave out --report or --fresh"
        )
    folder, runs = Path(output), study.runs()
    if folder.exists() and not folder.is_dir():
        raise FastEPError("expected a folder, found a file", node=str(folder), remedy="give another --output")
    chosen = [run for run in runs if not only or any(fnmatchcase(run.cell, pattern) for pattern in only)]
    if not chosen:
        cells = ", ".join(dict.fromkeys(run.cell for run in runs))
        raise FastEPError(f"no cell matches {', '.join(only)}", node=study.name, remedy=f"its cells are {cells}")
    for run in chosen if fresh else ():
        if (folder / RUNS / run.folder).exists():
            shutil.rmtree(folder / RUNS / run.folder)
    for run in () if report_only else chosen:
        if finished_report(run, folder) is None:
            others = [folder / RUNS / other.folder for other in (chosen if fresh else runs) if other != run]
            _attempt(run, folder, [*others, *map(Path, reuse)], progress)
            if study.keep == "report":
                _clear(runs, folder)
            write_study(study, runs, folder)
    return write_study(study, runs, folder)


def finished_report(run: Run, output: Path) -> Path | None:
    """The ``report.json`` of a run that is finished with the recipe as it is now."""
    folder = output / RUNS / run.folder
    try:
        known = json.loads((folder / _FINISHED).read_text())
    except (OSError, ValueError):
        return None
    report = folder / "report.json"
    return report if known == {"digest": _digest(run)} and report.is_file() else None


def failure(run: Run, output: Path) -> str:
    """Why the last attempt failed; empty where it did not."""
    path = output / RUNS / run.folder / _FAILED
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _attempt(run: Run, output: Path, others: list[Path], progress: Progress | None) -> None:
    folder = output / RUNS / run.folder
    (folder / _FINISHED).unlink(missing_ok=True)

    def tell(step: str, share: float, what: str) -> None:
        if progress:
            progress(run, step, share, what)

    try:
        compress(run.recipe, folder, reuse=others, progress=tell)
    except Exception as error:  # whatever stops one run must not cost the others
        folder.mkdir(parents=True, exist_ok=True)
        message = str(error) if isinstance(error, FastEPError) else f"{type(error).__name__}: {error}"
        (folder / _FAILED).write_text(" ".join(message.split()), encoding="utf-8")
        return
    (folder / _FAILED).unlink(missing_ok=True)
    (folder / _FINISHED).write_text(json.dumps({"digest": _digest(run)}))


def _digest(run: Run) -> str:
    return digest_of(run.digests)


def _clear(runs: Sequence[Run], output: Path) -> None:
    """Of finished runs, removes the model and the steps that no unfinished run can take over."""
    done = [run for run in runs if finished_report(run, output)]
    needed = {step for run in runs if run not in done for step in run.digests.items()}
    for run in done:
        folder = output / RUNS / run.folder
        shutil.rmtree(folder / "model", ignore_errors=True)
        for step in run.digests.items() - needed:
            if step[0] not in _KEPT:
                shutil.rmtree(folder / "steps" / step[0], ignore_errors=True)
