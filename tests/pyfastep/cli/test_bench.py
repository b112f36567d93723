"""`fastep bench`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from pyfastep.cli import main

pytestmark = pytest.mark.usefixtures("fastep_library")
FEW = ["--repeats", "2", "--warmup", "1"]


def test_lists_may_be_given_in_both_ways(fast_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = ["-b", "1,2", "--length", "4", "--length", "5", "-t", "1", "-e", "fastep,ort"]
    assert main(["bench", str(fast_model), *lists, *FEW, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["engine"], row["batch"], row["length"]) for row in rows] == [
        (engine, batch, length) for batch in "12" for length in "45" for engine in ("fastep", "ort")
    ]


def test_forms(fast_model: Path, float_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", str(fast_model), f"fp32={float_model}", "-l", "6", *FEW]
    assert main(command) == 0
    table = capsys.readouterr().out
    for part in ("fastep", "ort", "fp32", "median ms", "speedup", "ONNX Runtime"):
        assert part in table
    assert main([*command, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["measurements"]) == 3
    assert main([*command, "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| engine |")


def test_streams(fast_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(fast_model), "-l", "4", "--streams", "1,2", "-e", "fastep", *FEW, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["streams"], row["throughput"] != "") for row in rows] == [("1", False), ("2", True)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-b", "one"], "--batch: expected whole numbers, found 'one'"),
        (["-b", "²"], "--batch: expected whole numbers, found '²'"),
        (["--seed", "-1"], "seed >= 0"),
        (["-s", "1025"], "streams must be at most 1024"),
        (["-b", "99999999999999"], "no array of shape"),
        (["-t", "99999999999"], "threads must be at most 1024"),
        (["--json", "--csv"], "exclude each other"),
        (["-e", "x"], "unknown engine 'x'"),
        (["-l", "0"], "lengths must be numbers of at least 1"),
    ],
)
def test_wrong_arguments(
    fast_model: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(fast_model), *arguments]) == 1
    assert message in capsys.readouterr().err
