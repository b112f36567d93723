"""Options of two commands: both have them, what is run gets them, and a folder that is not there is an error before."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyfastep.cli import main

# Each command's function, and what it is asked for where the command line names nothing.
FUNCTIONS = {
    "compress": ("pyfastep.compress.pipeline", "compress"),
    "study": ("pyfastep.compress.study.runner", "run_study"),
}
USUAL: dict[str, dict[str, Any]] = {
    "compress": {"fresh": False, "reuse": []},
    "study": {"fresh": False, "reuse": [], "only": [], "report_only": False},
}


class Asked:
    """Stands for what a command runs: keeps what that is asked for, and does nothing.

    Attributes:
        loaded: The recipe or the study.
        output: The folder.
        options: All others but the progress.
    """

    def __init__(self, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        home, name = FUNCTIONS[command]
        monkeypatch.setattr(importlib.import_module(home), name, self)
        monkeypatch.setattr(importlib.import_module(f"pyfastep.cli.{command}"), "_print", lambda report: None)

    def __call__(self, loaded: Any, output: Path, *, progress: Any, **options: Any) -> SimpleNamespace:
        self.loaded, self.output = loaded, output
        self.options = {name: list(value) if name in ("reuse", "only") else value for name, value in options.items()}
        progress(*([SimpleNamespace(cell="a", seed=0)] if "only" in options else []), "train", 0.5, "step 1 of 2")
        return SimpleNamespace(failures={})


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


def arguments(command: str, folder: Path) -> list[str]:
    """A command with what it runs: a ready recipe, or a study of it."""
    if command == "compress":
        return [command, "smoke"]
    (folder / "study.toml").write_text('name = "small"\nrecipe = "smoke"\n[[cells]]\nname = "a"\n')
    return [command, str(folder / "study.toml")]


OPTIONS: list[tuple[list[str], dict[str, Any]]] = [
    ([], {}),
    (["--resume"], {}),
    (["--fresh"], {"fresh": True}),
    (["--reuse", "one", "--reuse", "two"], {"reuse": [Path("one"), Path("two")]}),
]
STUDY_OPTIONS: list[tuple[list[str], dict[str, Any]]] = [
    (["--only", "a", "--only", "b*"], {"only": ["a", "b*"]}),
    (["--report"], {"report_only": True}),
]


@pytest.mark.parametrize(
    ("command", "options", "asked"),
    [
        *(("compress", *case) for case in OPTIONS),
        *(("study", *case) for case in (*OPTIONS, *STUDY_OPTIONS)),
    ],
)
def test_options_reach_what_is_run(
    command: str, options: list[str], asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    found = Asked(command, monkeypatch)
    assert main([*arguments(command, tmp_path), *options]) == 0
    assert found.options == USUAL[command] | asked
    assert found.output == Path(found.loaded.name)
    assert main([*arguments(command, tmp_path), *options, "-o", "elsewhere"]) == 0
    assert found.output == Path("elsewhere")


@pytest.mark.parametrize("command", ["compress", "study"])
def test_changes_reach_every_recipe(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Asked(command, monkeypatch)
    changes = ["--set", "prune.pattern=4x4", "--set", "train.steps=7"]
    assert main([*arguments(command, tmp_path), "-o", str(tmp_path / "out"), *changes]) == 0
    recipes = [found.loaded] if command == "compress" else [run.recipe for run in found.loaded.runs()]
    assert [(recipe.prune.pattern, recipe.train.steps) for recipe in recipes] == [("4x4", 7)]
