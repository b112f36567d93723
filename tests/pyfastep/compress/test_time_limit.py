"""The number of steps is decided once, from what a step takes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")

from pyfastep.compress import time_limit  # noqa: E402
from pyfastep.compress.recipe import TrainSettings  # noqa: E402
from pyfastep.compress.time_limit import StepTimer, limit_steps, probe_rows, probe_settings  # noqa: E402


def no_measuring() -> float:
    raise AssertionError("measured")


def test_steps_that_fit(tmp_path: Path) -> None:
    settings = TrainSettings(steps=1000, minutes=1.0)
    assert limit_steps(settings, tmp_path, lambda: 0.5).steps == 114  # 60 s less a twentieth
    assert limit_steps(settings, tmp_path, no_measuring).steps == 114  # a second run goes on with it


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 1000), (1e6, 1)])
def test_bounds(tmp_path: Path, seconds: float, steps: int) -> None:
    assert limit_steps(TrainSettings(steps=1000, minutes=1.0), tmp_path, lambda: seconds).steps == steps


def test_no_limit(tmp_path: Path) -> None:
    settings = TrainSettings(steps=1000)
    assert limit_steps(settings, tmp_path, no_measuring) is settings
    assert list(tmp_path.iterdir()) == []


def test_the_first_steps_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([100.0, 110.0, 110.5, 111.5])
    monkeypatch.setattr(time_limit, "time", SimpleNamespace(perf_counter=lambda: next(ends)))
    timer, nothing = StepTimer(), SimpleNamespace()
    control: Any = None
    for _ in range(4):
        timer.on_step_end(nothing, nothing, control)
    assert timer.seconds_per_step == 0.75


def test_the_probe_draws_rows_of_all_lengths() -> None:
    table = datasets.Dataset.from_list([{"input_ids": [0] * n} for n in range(1, 2001)])
    settings = TrainSettings(steps=5, batch_size=4, minutes=3.0)
    rows = probe_rows(table, settings, seed=0)
    lengths = [len(row["input_ids"]) for row in rows]
    assert len(lengths) == len(set(lengths)) == 4 * probe_settings(settings).steps
    assert 700 < sum(lengths) / len(lengths) < 1300  # mean of all: 1000.5
    assert len(probe_rows(table.select(range(3)), settings, seed=0)) == 3
    assert probe_settings(settings).minutes == 0
