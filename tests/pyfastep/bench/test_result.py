"""The forms of a report."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

from pyfastep.bench.result import COLUMNS, BenchReport, Measurement

GOOD = Measurement("fastep", 1, 4, 128, 2.0, 1.5, 3.0, 30, 100.0, 2.5, 0.99991, 0.0123, p99_ms=3.5)
BAD = Measurement("other", 1, 4, 128, load_ms=1.0, problem="broken")
REPORT = BenchReport("A CPU", "ort", (GOOD, BAD, Measurement("other", 1, 8, 128, problem="broken")))


def test_cells() -> None:
    assert GOOD.samples_per_second == 2000.0
    assert dict(zip(COLUMNS, GOOD.cells(), strict=True)) == {
        "engine": "fastep",
        "threads": "1",
        "streams": "1",
        "batch": "4",
        "length": "128",
        "median ms": "2.00",
        "p10 ms": "1.50",
        "p90 ms": "3.00",
        "p99 ms": "3.50",
        "samples/s": "2000.0",
        "speedup": "2.50x",
        "cosine": "0.9999",
        "max diff": "0.0123",
    }
    assert BAD.cells()[5:] == ["-"] * 8


def test_throughput_of_streams_is_as_measured() -> None:
    assert dataclasses.replace(GOOD, streams=4, throughput=5000.0).samples_per_second == 5000.0


def test_json_holds_everything() -> None:
    loaded = json.loads(REPORT.to_json())
    assert loaded["machine"] == "A CPU"
    assert loaded["measurements"][0]["cosine"] == GOOD.cosine
    assert loaded["measurements"][1]["problem"] == "broken"


def test_csv_can_be_read_back() -> None:
    rows = list(csv.DictReader(io.StringIO(REPORT.to_csv())))
    assert [row["engine"] for row in rows] == ["fastep", "other", "other"]
    assert float(rows[0]["median_ms"]) == GOOD.median_ms
    assert rows[1]["median_ms"] == ""


def test_markdown_is_a_table_with_notes() -> None:
    lines = REPORT.to_markdown().splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == len(COLUMNS) + 1
    assert "A CPU" in REPORT.to_markdown()
    assert "other: broken" in REPORT.to_markdown()


def test_problems_are_told_once() -> None:
    assert REPORT.problems == ["other: broken (threads 1, streams 1, batch 4, length 128 and 1 more)"]
