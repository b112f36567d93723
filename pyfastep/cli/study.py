"""`fastep study`: one recipe in many variants and with several seeds, compared in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyfastep.cli.console import result_console
from pyfastep.cli.run_options import Output, Resume, Reuse, Set
from pyfastep.cli.step_bar import step_bar

if TYPE_CHECKING:
    from pyfastep.compress.study.plan import Run
    from pyfastep.compress.study.results import StudyReport

_Study = Annotated[str | None, typer.Argument(help="A TOML file, or the name of a ready study.")]
_Only = Annotated[
    list[str] | None, typer.Option("--only", help="Run these cells now: a name, or a pattern like '4x1*'.")
]
_Report = Annotated[bool, typer.Option("--report", help="Run nothing, report what is finished.")]
_List = Annotated[bool, typer.Option("--list", help="List the ready studies.")]


def study(
    study: _Study = None,
    output: Output = None,
    only: _Only = None,
    report: _Report = False,
    resume: Resume = True,
    reuse: Reuse = None,
    changes: Set = None,
    ready: _List = False,
) -> None:
    """Compress with one recipe in many variants and with several seeds, and compare quality, speed and budget."""
    from pyfastep.compress.study.plan import load_study, ready_studies

    if ready:
        for name in ready_studies():
            typer.echo(f"{name:24}{load_study(name).description}")
        return
    if study is None:
        raise typer.BadParameter("give a study, or --list")
    loaded = load_study(study, changes or ())
    from pyfastep.compress.study.runner import run_study

    with step_bar() as show:

        def progress(run: Run, step: str, share: float, what: str) -> None:
            show(f"{run.cell}, seed {run.seed}: {step}", share, what)

        found = run_study(
            loaded,
            output or Path(loaded.name),
            only=only or (),
            report_only=report,
            fresh=not resume,
            reuse=reuse or (),
            progress=progress,
        )
    _print(found)
    if found.failures:
        raise typer.Exit(1)


def _print(report: StudyReport) -> None:
    from rich.table import Table

    console = result_console()
    table = Table("cell", "seeds", report.chief_figure.replace("_", " ") or "quality", "loss", "times dense")
    for cell in report.cells:
        speed = next(iter(cell.speedup.values()), None)
        values = [value.text(3) if value else "-" for value in (cell.final, cell.loss, speed)]
        table.add_row(cell.name, str(len(cell.seeds)), *values)
    console.print(table)
    for run, reason in report.failures.items():
        console.print(f"failed: {run}: {reason}")
    if report.missing:
        console.print(f"partial: {len(report.missing)} runs are missing")
    console.print(f"report: {report.output / 'study.md'}")
