"""The figures: every section on tiny models, and their report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pyfastep.demo.figures import __main__ as command
from pyfastep.demo.figures import accuracy, files, padding, report, sections, speed, threads
from pyfastep.demo.figures.figure import Figure, Section
from pyfastep.demo.figures.files import DemoFiles
from pyfastep.demo.figures.worker import Worker, rate
from pyfastep.demo.models import DemoModel
from pyfastep.demo.turns import Spread
from pyfastep.errors import FastEPError

MODELS = (DemoModel("minilm", (4, 1), 0.5), DemoModel("distilbert"), DemoModel("distilbert", (4, 4), 0.8))


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo's folder of tiny models."""
    from .conftest import tiny

    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DemoModel, "load", tiny)
        patch.setattr(files, "MODELS", MODELS)
        files.build_files(folder / "models", print)
    return folder


@pytest.fixture
def demo_files(tiny_files: Path, monkeypatch: pytest.MonkeyPatch) -> DemoFiles:
    monkeypatch.setattr(files, "MODELS", MODELS)
    return files.find_files(tiny_files / "models")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def set_all(module: ModuleType, **values: Any) -> None:
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)

    return set_all


def test_floors() -> None:
    value = Spread(1.1, 1.0, 1.2, 3)
    assert Figure("x", "1", value).is_met is None
    assert Figure("x", "1", value, floor=1.0).is_met
    assert not Figure("x", "1", value, floor=1.0, less_is_better=True).is_met


def test_speed(demo_files: DemoFiles, few: Callable[..., None]) -> None:
    few(speed, LENGTHS=(5, 16), _ROUNDS=5, _LENGTH=8, _BATCH=2)
    section = speed.measure_speed(demo_files, print)
    # Two models: INT8 and FP32 at two lengths, the batch twice; and the low tier.
    assert len(section.figures) == 2 * (2 * 2 + 2) + 1
    assert all(figure.value.p10 > 0 for figure in section.figures)
    assert [figure.floor for figure in section.figures if "INT8" in figure.what and figure.shape == "1 x 16"] == [
        None
    ] * 2
    forms = ("dynamic", "static", "static-float", "static as FastEP gets it", "fp32")
    assert all(
        any(f"ms {form}" in figure.detail for form in forms)
        for figure in section.figures
        if "ORT" in figure.what and "tier" not in figure.what
    )


def test_threads(demo_files: DemoFiles, few: Callable[..., None]) -> None:
    few(threads, SHAPES=((1, 4),), CALLERS=3, _TURN_SECONDS=0.01, _ROUNDS=5)
    built = demo_files.models["distilbert-4x4-80"]
    if len(os.sched_getaffinity(0)) < 2:
        with pytest.raises(FastEPError, match="two CPUs"):
            threads.measure_threads(built, print)
        return
    cpus = os.sched_getaffinity(0)
    two, bound, concurrent = threads.measure_threads(built, print).figures
    assert two.floor == bound.floor == 0.93
    assert "threads" in two.detail
    assert "processes" in two.detail
    assert os.sched_getaffinity(0) == cpus
    assert concurrent.shape == "3 callers of 1 x 4"
    assert concurrent.value.median > 0


def test_a_worker_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match="ended early"):
        Worker(tmp_path / "none.onnx", min(os.sched_getaffinity(0)), 1, 4)


def test_at_least_one_call_counts() -> None:
    calls: list[int] = []
    assert rate(lambda: calls.append(1), 3, 0.0) > 0
    assert calls == [1]


def test_padding(demo_files: DemoFiles, few: Callable[..., None]) -> None:
    few(padding, _ROUNDS=5)
    section = padding.measure_padding(demo_files.models["distilbert-4x4-80"], print)
    assert [figure.shape for figure in section.figures] == ["16 x 128", "64 x 128", "64 x 7"]
    assert all(figure.less_is_better and figure.floor == 1.15 for figure in section.figures)


def test_accuracy(demo_files: DemoFiles, few: Callable[..., None]) -> None:
    few(accuracy, _INPUTS=12, _BATCH=4)
    section = accuracy.measure_accuracy(demo_files, print)
    *errors, exact = section.figures
    assert [figure.shape for figure in errors] == ["12 inputs"] * 3
    assert all(0.5 < figure.value.median < 1.5 for figure in errors)
    assert exact.value.median == pytest.approx(1, abs=1e-6)
    assert exact.detail.startswith("12 equal bit for bit; ")


def test_report(tmp_path: Path) -> None:
    figure = Figure("a ratio", "1 x 8", Spread(1.234, 1.1, 1.3, 5), floor=2.0, aim=3.0, detail="a / b")
    section = Section("speed", "Speed", (figure,), ("A note.",))
    json_path, markdown_path = report.write_report(report.Report("A CPU", "python -m x", (section,)), tmp_path / "new")
    assert json.loads(json_path.read_text())["sections"][0]["figures"][0]["value"]["median"] == 1.234
    text = markdown_path.read_text()
    assert "| a ratio | 1 x 8 | 1.23 (1.10-1.30) | 2 | 3 | no | a / b |" in text
    assert text.endswith("A CPU.\n\n    python -m x\n")
    console = Console(record=True, width=200)
    report.print_section(section, console)
    assert "1.23 (1.10-1.30)" in console.export_text()


def test_missing_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match=r"no such file.*--no-build"):
        files.find_files(tmp_path)


def test_the_command(tiny_files: Path, demo_files: DemoFiles, few: Callable[..., None], tmp_path: Path) -> None:
    few(padding, _ROUNDS=5)
    arguments = ["--output", str(tiny_files), "--no-build", "--only", "padding", "--results", str(tmp_path)]
    done = CliRunner().invoke(command.app, arguments)
    assert done.exit_code == 0, done.output
    assert "Padding" in done.output
    written = json.loads((tmp_path / "figures.json").read_text())
    assert [section["name"] for section in written["sections"]] == ["padding"]
    assert written["machine"]
    wrong = CliRunner().invoke(command.app, ["--only", "nonsense"])
    assert "no section is called 'nonsense'" in str(wrong.exception)
    assert set(sections.SECTIONS) >= {"speed", "threads", "padding", "accuracy"}
