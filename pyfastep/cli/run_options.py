"""Options that `fastep compress` and `fastep study` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Output", "Resume", "Reuse", "Set"]

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the results. (default: its name)")]
Resume = Annotated[bool, typer.Option("--resume/--fresh", help="Go on where an earlier run stopped, or begin anew.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="table.key=value, in place of what the recipe says.")]
Reuse = Annotated[
    list[Path] | None,
    typer.Option("--reuse", exists=True, file_okay=False, help="Take finished steps from another run or study."),
]
