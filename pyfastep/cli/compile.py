"""`fastep compile`: packing a converted model for one instruction tier."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from pyfastep.cli.console import result_console

_MEGABYTE = 1e6

_Model = Annotated[Path, typer.Argument(help="A converted model.")]
_Output = Annotated[Path, typer.Option("--output", "-o", help="The compiled model to write.")]
_Embed = Annotated[bool, typer.Option("--embed", help="One file; else plans go into <output's stem>_fastep.bin.")]
_MaxTier = Annotated[str | None, typer.Option(help="Pack for no better tier: scalar, avx2, avxvnni, avx512vnni.")]
_Strict = Annotated[bool, typer.Option("--strict/--no-strict", help="Fail if FastEP does not run a fastep node.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def compile(
    model: _Model,
    output: _Output,
    embed: _Embed = False,
    max_tier: _MaxTier = None,
    strict: _Strict = True,
    as_json: _Json = False,
) -> None:
    """Pack a converted model for this machine's instruction tier: sessions start in milliseconds, unless --embed."""
    from pyfastep.compiled import compile_model

    plans = compile_model(model, output, embed=embed, max_tier=max_tier, strict=strict)
    if as_json:
        rows = [dataclasses.asdict(plan) | {"file": str(plan.file)} for plan in plans]
        typer.echo(json.dumps(rows, indent=2))
        return
    total = sum(plan.bytes for plan in plans) / _MEGABYTE
    files = ", ".join(sorted({str(plan.file) for plan in plans} | {str(output)}))
    tiers = ", ".join(sorted({plan.tier for plan in plans})) or "no tier"
    result_console().print(f"{len(plans)} subgraphs compiled for {tiers}, {total:.1f} MB: {files}")
