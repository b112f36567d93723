"""Options of two commands: both have them, and a folder that is not there is an error before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyfastep.cli import main


@pytest.mark.parametrize("command", ["compress", "study"])
def test_both_commands_have_them(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--output", "--resume", "--fresh", "--reuse", "--set"))


@pytest.mark.parametrize("command", ["compress", "study"])
def test_a_missing_folder_to_reuse(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "none", "-o", str(tmp_path / "out"), "--reuse", str(tmp_path / "lost")]) != 0
    told = capsys.readouterr().err
    assert "--reuse" in told
    assert not (tmp_path / "out").exists()
