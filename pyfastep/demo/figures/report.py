"""Figures as tables on the terminal, as markdown for the README and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pyfastep._text import markdown_table
from pyfastep.demo.figures.figure import Figure, Section

__all__ = ["Report", "print_section", "write_report"]

COLUMNS = ("figure", "shape", "median (p10-p90)", "floor", "aim", "met", "from")
_LEFT = (0, len(COLUMNS) - 1)


@dataclass(frozen=True)
class Report:
    """Everything that was measured, on which machine and by which command."""

    machine: str
    command: str
    sections: tuple[Section, ...]


def print_section(section: Section, console: Console) -> None:
    """One table, and what must be known about it."""
    table = Table(title=section.title, title_justify="left")
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index in _LEFT else "right")
    for figure in section.figures:
        table.add_row(*_cells(figure))
    console.print()
    console.print(table)
    for note in section.notes:
        console.print(note, markup=False, highlight=False)


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Writes `figures.json` and `figures.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    json_path, markdown_path = folder / "figures.json", folder / "figures.md"
    json_path.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    markdown_path.write_text(_markdown(report), encoding="utf-8")
    return json_path, markdown_path


def _markdown(report: Report) -> str:
    parts = []
    for section in report.sections:
        table = markdown_table(COLUMNS, [_cells(figure) for figure in section.figures], left=_LEFT)
        parts += [f"### {section.title}", table, *section.notes]
    return "\n\n".join([*parts, f"{report.machine}.", f"    {report.command}"]) + "\n"


def _cells(figure: Figure) -> list[str]:
    bound = "at most " if figure.less_is_better else ""
    met = {None: "", True: "yes", False: "no"}[figure.is_met]
    spread = figure.value
    digits = 5 if 0.99 < spread.median < 1 and not figure.less_is_better else 2
    median, p10, p90 = (f"{value:.{digits}f}" for value in (spread.median, spread.p10, spread.p90))
    return [
        figure.what,
        figure.shape,
        f"{median} ({p10}-{p90})",
        "" if figure.floor is None else f"{bound}{figure.floor:g}",
        "" if figure.aim is None else f"{bound}{figure.aim:g}",
        met,
        figure.detail,
    ]
