"""The demo's results as tables on the terminal, as markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pyfastep._text import markdown_table
from pyfastep.bench.engines import SKIP_FUSION
from pyfastep.bench.memory import COLUMNS as MEMORY_COLUMNS
from pyfastep.bench.memory import MemoryUse
from pyfastep.demo.measure import Agreement, SpeedRow, Time

__all__ = ["FileRow", "Neighbour", "Results", "TextResults", "print_results", "write_results"]

SPEED_COLUMNS = ("model", "shape", "ORT FP32, ms", "ORT INT8 best, ms", "FastEP, ms", "speed-up")
FILE_COLUMNS = ("model", "zeros", "FP32, MB", "INT8, MB", "FastEP, MB", "largest diff", "mean |y|", "cosine")
MEMORY_TITLE = "Opening DistilBERT-base QA, 4x4 80%, in a fresh process"
NOTES = (
    "Times: median (p10-p90) of single calls of session.run, all engines in turns; shape is batch x tokens; ORT is "
    "stock ONNX Runtime.",
    "ORT INT8 best: the fastest of dynamic (on the graph of ONNX Runtime's transformer optimizer), static with "
    "quantized product outputs, static with float ones, and static as FastEP gets it, each with ONNX Runtime's "
    f"{SKIP_FUSION} on or off, whichever is faster. Speed-up: that / FastEP.",
    "DistilBERT has random weights: it shows speed only. MiniLM has its real weights, but is pruned in one shot, "
    "without the training that wins the accuracy back: that is `fastep compress`.",
    "Largest difference, mean magnitude and cosine: FastEP's outputs against stock ONNX Runtime's on the same "
    "quantized model, real text. The default conversion drops roundings of the quantized model, so they are not zero.",
)


@dataclass(frozen=True)
class FileRow:
    """File sizes in bytes and agreement of one model."""

    name: str
    title: str
    sparsity: float
    fp32_bytes: int
    int8_bytes: int
    fastep_bytes: int
    agreement: Agreement


@dataclass(frozen=True)
class Neighbour:
    """A sentence and its nearest one, as three models see it."""

    query: str
    dense_fp32: str
    pruned_fp32: str
    fastep: str


@dataclass(frozen=True)
class TextResults:
    """MiniLM on real sentences.

    Attributes:
        texts: Sentences compared.
        cosine_pruned_fp32: Mean cosine of FastEP's embeddings to those of the pruned float model.
        cosine_dense_fp32: The same to the dense float model: what pruning in one shot costs.
        same_neighbour: Share of sentences whose nearest sentence is that of the pruned float model.
        neighbours: Examples.
    """

    texts: int
    cosine_pruned_fp32: float
    cosine_dense_fp32: float
    same_neighbour: float
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Results:
    """Everything the demo found."""

    machine: str
    speed: tuple[SpeedRow, ...]
    files: tuple[FileRow, ...]
    memory: tuple[MemoryUse, ...]
    text: TextResults


def print_results(results: Results, console: Console) -> None:
    """The tables, the examples and the notes."""
    titles = {row.name: row.title for row in results.files}
    _print_table(console, "Speed, one call", SPEED_COLUMNS, [_speed_cells(row, titles) for row in results.speed])
    _print_table(console, "Files and agreement", FILE_COLUMNS, [_file_cells(row) for row in results.files])
    if results.memory:
        _print_table(console, MEMORY_TITLE, MEMORY_COLUMNS, [list(row.cells()) for row in results.memory])
    console.print()
    for line in (*_text_lines(results.text), "", *NOTES, results.machine + "."):
        console.print(line, markup=False, highlight=False)


def write_results(results: Results, folder: Path) -> tuple[Path, Path]:
    """Writes ``results.json`` and ``results.md``."""
    json_path, markdown_path = folder / "results.json", folder / "results.md"
    json_path.write_text(json.dumps(asdict(results), indent=2) + "\n", encoding="utf-8")
    titles = {row.name: row.title for row in results.files}
    parts = [
        markdown_table(SPEED_COLUMNS, [_speed_cells(row, titles) for row in results.speed]),
        markdown_table(FILE_COLUMNS, [_file_cells(row) for row in results.files]),
        markdown_table(MEMORY_COLUMNS, [list(row.cells()) for row in results.memory]),
        "\n".join(_text_lines(results.text)),
        *NOTES,
        results.machine + ".",
    ]
    markdown_path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return json_path, markdown_path


def _speed_cells(row: SpeedRow, titles: dict[str, str]) -> list[str]:
    int8 = f"{_ms(row.int8)} {row.int8.engine.split(' ')[0]}"
    shape = f"{row.batch} x {row.length}"
    return [titles[row.name], shape, _ms(row.fp32), int8, _ms(row.fastep), f"{row.speedup:.2f}x"]


def _ms(time: Time) -> str:
    return f"{time.median_ms:.1f} ({time.p10_ms:.1f}-{time.p90_ms:.1f})"


def _file_cells(row: FileRow) -> list[str]:
    sizes = [f"{size / 1e6:.1f}" for size in (row.fp32_bytes, row.int8_bytes, row.fastep_bytes)]
    agreed = row.agreement
    difference, magnitude = f"{agreed.largest_difference:.2g}", f"{agreed.mean_magnitude:.2g}"
    return [row.title, f"{row.sparsity:.0%}", *sizes, difference, magnitude, f"{agreed.cosine:.5f}"]


def _text_lines(text: TextResults) -> list[str]:
    lines = [
        f"all-MiniLM-L6-v2 on {text.texts} sentences. Mean cosine of FastEP's embeddings: to the pruned FP32 model "
        f"{text.cosine_pruned_fp32:.4f}, to the dense FP32 model {text.cosine_dense_fp32:.4f}. "
        f"Same nearest sentence as the pruned FP32 model: {text.same_neighbour:.0%}.",
    ]
    for example in text.neighbours:
        lines += ["", f"Nearest to: {example.query}"]
        lines += [f"  dense FP32:  {example.dense_fp32}", f"  pruned FP32: {example.pruned_fp32}"]
        lines.append(f"  FastEP:      {example.fastep}")
    return lines


def _print_table(console: Console, title: str, columns: Sequence[str], rows: list[list[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index > 0)
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(table)
