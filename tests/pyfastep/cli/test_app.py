"""The frame of the command line: version, help, and errors that are one clear line."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import pyfastep
from pyfastep.cli import main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fastep {pyfastep.__version__}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in importlib.import_module("pyfastep.cli.app").COMMANDS:
        assert command in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["quantize", "{}/missing.onnx", "--data", "x.npz", "-o", "{}/q.onnx"],
        ["convert", "{}/missing.onnx", "-o", "{}/q.onnx"],
        ["compress", "{}/missing.onnx", "-o", "{}/out"],
        ["bench", "{}/missing.onnx"],
        ["doctor", "{}/missing.onnx"],
    ],
)
def test_a_missing_file_is_one_line_and_exit_code_1(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(tmp_path) for argument in arguments]) == 1
    captured = capsys.readouterr()
    told = captured.err.strip().splitlines()
    assert len(told) == 1
    assert told[0].startswith("error: ")
    assert "missing.onnx" in told[0]
    assert "Traceback" not in captured.out + captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["nonsense"], ["bench", "x", "--nonsense"], ["quantize", "x"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_interruption(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pyfastep.doctor.diagnose", interrupt)
    assert main(["doctor"]) != 0
    assert "Traceback" not in capsys.readouterr().err
