"""What looks like markup is printed as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.table import Table

from pyfastep.cli import main
from pyfastep.cli.console import result_console


def test_texts_are_printed_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table = Table("name", title="[/x] :smile:")
    table.add_row("up[dims=1] of a long name")
    result_console(60).print(table)
    result_console().print("[bold]b[/]")
    printed = capsys.readouterr().out
    for part in ("[/x] :smile:", "up[dims=1] of a long name", "[bold]b[/]"):
        assert part in printed


@pytest.mark.usefixtures("fastep_library")
@pytest.mark.parametrize(
    "command",
    [
        ["bench", "--length", "4", "--repeats", "1"],
        ["profile", "--length", "4", "--runs", "1", "--top", "3"],
        ["memory", "--length", "4"],
        ["doctor"],
    ],
)
def test_a_path_that_looks_like_markup(
    command: list[str], fast_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "m[" / "x]"
    folder.mkdir(parents=True)
    model = folder / "fast[bold].onnx"
    model.write_bytes(fast_model.read_bytes())
    assert main([*command[:1], str(model), *command[1:]]) == 0, capsys.readouterr().err
