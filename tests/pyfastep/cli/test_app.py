"""The frame of the command line: version, help, and errors that are one clear line."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import pyfastep
from pyfastep.cli import main


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command had to say."""
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    (line,) = captured.err.strip().splitlines()
    assert line.startswith("error: ")
    return line


def fastep_without(module: str, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The installed command in a process that finds no `module`."""
    code = f"import sys; sys.modules[{module!r}] = None; from pyfastep.cli import main; sys.exit(main())"
    command = [sys.executable, "-I", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


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
        ["study", "{}/missing.onnx", "-o", "{}/out"],
        ["compile", "{}/missing.onnx", "-o", "{}/c.onnx"],
        ["bench", "{}/missing.onnx"],
        ["memory", "{}/missing.onnx"],
        ["memory", "ort:{}/missing.onnx"],
        ["profile", "{}/missing.onnx"],
        ["doctor", "{}/missing.onnx"],
    ],
)
def test_a_missing_file_is_one_line_and_exit_code_1(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([argument.format(tmp_path) for argument in arguments]) == 1
    assert "missing.onnx" in only_line(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["quantize", "{}/broken.onnx", "--data", "x.npz", "-o", "{}/q.onnx"],
        ["convert", "{}/broken.onnx", "-o", "{}/q.onnx"],
        ["compile", "{}/broken.onnx", "-o", "{}/c.onnx"],
        ["bench", "{}/broken.onnx"],
        ["memory", "{}/broken.onnx"],
        ["profile", "{}/broken.onnx"],
        ["doctor", "{}/broken.onnx"],
    ],
)
def test_a_broken_model_is_one_line_and_exit_code_1(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"broken")
    assert main([argument.format(tmp_path) for argument in arguments]) == 1
    assert re.search(r"broken\.onnx: not an? (readable )?ONNX model.* \(6 bytes\)", only_line(capsys))
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]


def test_an_output_that_cannot_be_written(fast_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(fast_model), "-o", str(tmp_path / "nowhere" / "c.onnx")]) == 1
    assert "nowhere: the output's folder does not exist" in only_line(capsys)


@pytest.mark.parametrize("command", ["profile", "compile"])
def test_a_model_that_onnx_runtime_refuses(
    command: str, fast_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a model, but its first node is of an op that nobody knows."""
    model = onnx.load(str(fast_model))
    model.graph.node.insert(0, onnx.helper.make_node("Nonsense", [model.graph.input[0].name], ["nothing"], "who"))
    onnx.save(model, str(tmp_path / "m.onnx"))
    output = ["-o", str(tmp_path / "c.onnx")] if command == "compile" else []
    assert main([command, str(tmp_path / "m.onnx"), *output]) == 1
    line = only_line(capsys)
    assert line.startswith("error: ONNX Runtime: ")
    assert "Nonsense" in line


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("onnx_ir", ["convert", "q.onnx"], "convert"),
        ("onnx", ["quantize", "m.onnx", "--data", "x.npz", "-o", "q.onnx"], "quantize"),
        ("torch", ["compress", "smoke", "-o", "out"], "compress"),
        ("torch", ["study", "minilm-qa", "-o", "out"], "compress"),
    ],
)
def test_a_missing_package_is_one_line_and_exit_code_1(
    package: str, arguments: list[str], extra: str, float_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(float_model.read_bytes())
    done = fastep_without(package, arguments, tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert package in line
    assert f"install FastEP with the extra {extra}: pip install '.[{extra}]'" in line
    assert not (tmp_path / "out").exists()


def test_a_missing_module_of_our_own_is_a_bug(tmp_path: Path) -> None:
    done = fastep_without("pyfastep.convert", ["convert", "q.onnx"], tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


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
