"""The demo's tables: every figure in its place, on the terminal and in the files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from pyfastep.bench.memory import MemoryUse
from pyfastep.demo.measure import Agreement, SpeedRow, Time
from pyfastep.demo.report import FileRow, Neighbour, Results, TextResults, print_results, write_results


@pytest.fixture
def results() -> Results:
    speed = SpeedRow(
        name="distilbert-4x4-80",
        batch=1,
        length=128,
        threads=1,
        fp32=Time("fp32", 101.25, 100.0, 110.0),
        int8=Time("static of distilbert-4x4-80", 30.0, 29.0, 31.5),
        fastep=Time("distilbert-4x4-80", 10.0, 9.5, 10.5),
        others=(Time("dynamic", 33.0, 32.0, 34.0),),
    )
    agreed = Agreement(largest_difference=0.0123, mean_magnitude=0.5, cosine=0.99987)
    files = FileRow(
        "distilbert-4x4-80", "DistilBERT-base QA, 4x4 80%", 0.8, 265_600_000, 66_900_000, 33_500_000, agreed
    )
    example = Neighbour("Open [bold]a file", "Open a socket", "Close a file", "Close a file")
    text = TextResults(256, 0.9966, 0.1465, 0.87, (example,))
    memory = MemoryUse("FastEP, one file", "fastep", 33.4, 0.3, 45.0, 84.0, 47.0)
    return Results("Some CPU; ONNX Runtime 1.31.1", (speed,), (files,), (memory,), text)


def test_terminal_shows_every_figure(results: Results) -> None:
    stream = io.StringIO()
    print_results(results, Console(file=stream, width=130))
    shown = " ".join(stream.getvalue().split())
    for figure in ["1 x 128", "101.2 (100.0-110.0)", "30.0 (29.0-31.5) static", "10.0 (9.5-10.5)", "3.00x"]:
        assert figure in shown, figure
    for figure in ["80%", "265.6", "66.9", "33.5", "0.012", "0.99987", "0.9966", "0.1465", "87%"]:
        assert figure in shown, figure
    assert "Open [bold]a file" in shown, "texts are not markup"
    assert "random weights" in shown
    assert "pruned in one shot" in shown


def test_files_hold_the_same(results: Results, tmp_path: Path) -> None:
    json_path, markdown_path = write_results(results, tmp_path)
    data = json.loads(json_path.read_text())
    assert data["speed"][0]["fastep"] == {
        "engine": "distilbert-4x4-80",
        "median_ms": 10.0,
        "p10_ms": 9.5,
        "p90_ms": 10.5,
    }
    assert data["files"][0]["agreement"]["cosine"] == 0.99987
    markdown = markdown_path.read_text()
    row = "| DistilBERT-base QA, 4x4 80% | 1 x 128 | 101.2 (100.0-110.0) | 30.0 (29.0-31.5) static | 10.0 (9.5-10.5) |"
    assert row + " 3.00x |" in markdown
    assert "Some CPU; ONNX Runtime 1.31.1." in markdown
