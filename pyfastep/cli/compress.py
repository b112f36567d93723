"""`fastep compress`: from a recipe to a fast ONNX model with a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyfastep.cli.console import result_console
from pyfastep.cli.run_options import Output, Resume, Reuse, Set
from pyfastep.cli.step_bar import step_bar

if TYPE_CHECKING:
    from pyfastep.compress.report import CompressReport

_LEAST_WIDTH = 80  # a narrower terminal wraps lines rather than losing figures

_Recipe = Annotated[str | None, typer.Argument(help="A TOML file, or the name of a ready recipe.")]
_List = Annotated[bool, typer.Option("--list", help="List the ready recipes.")]


def compress(
    recipe: _Recipe = None,
    output: Output = None,
    resume: Resume = True,
    reuse: Reuse = None,
    changes: Set = None,
    ready: _List = False,
) -> None:
    """Prune, distil, quantize, export, convert, evaluate and measure a Hugging Face model, from one recipe."""
    from pyfastep.compress.recipe_file import load_recipe, ready_recipes

    if ready:
        for name in ready_recipes():
            typer.echo(f"{name:24}{load_recipe(name).description}")
        return
    if recipe is None:
        raise typer.BadParameter("give a recipe, or --list")
    loaded = load_recipe(recipe, changes or ())
    from pyfastep.compress.pipeline import compress as run

    with step_bar() as show:
        report = run(loaded, output or Path(loaded.name), fresh=not resume, reuse=reuse or (), progress=show)
    _print(report)


def _print(report: CompressReport) -> None:
    console = result_console()
    _print_figures(report.figures)
    for measured in report.bench.get("measurements", []):
        if measured["median_ms"] is not None:
            shape = f"{measured['batch']} x {measured['length']}"
            console.print(f"{measured['engine']}, {shape}: {measured['median_ms']:.2f} ms")
    if report.sparsity:
        console.print(f"zeros: {report.sparsity['report']['sparsity']:.2%}, pattern {report.sparsity['pattern']}")
    console.print(f"model: {report.model}")
    console.print(f"report: {report.output / 'report.md'}")


def _print_figures(figures: dict[str, dict[str, float]]) -> None:
    """A row per figure and a column per form: forms are few, their names wrap."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False)
    table.add_column(no_wrap=True)
    for form in figures:
        table.add_column(form, justify="right")
    for name in dict.fromkeys(name for row in figures.values() for name in row):
        values = (row.get(name) for row in figures.values())
        table.add_row(name.replace("_", " "), *("-" if value is None else f"{value:.4g}" for value in values))
    result_console(_LEAST_WIDTH, soft_wrap=False).print(table)
