"""The bar of a long run that goes from step to step; in a log, a line where a step begins and for each tenth of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["step_bar"]

_LINES = 10  # of a step, in a log


@contextmanager
def step_bar() -> Iterator[Callable[[str, float, str], None]]:
    """Gives a function that is told the step, the share of it that is done, 0 to 1, and what is being done."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("start", total=1.0)
        told = ("", 0)

        def show(step: str, share: float, what: str) -> None:
            nonlocal told
            now = (step, int(share * _LINES))
            if now != told and not console.is_terminal:  # a log shows no bar
                console.print(f"{step}: {what}", markup=False, highlight=False)
            told = now
            bar.update(task, completed=share, description=f"{step}: {what}")

        yield show
