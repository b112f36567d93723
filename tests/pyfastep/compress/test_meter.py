"""Points at even distances, none twice after an interruption; the clock stands still while the model is judged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from pyfastep.compress import meter as meters  # noqa: E402
from pyfastep.compress.meter import Meter, evaluation_steps  # noqa: E402

CONTROL: Any = None


def test_steps() -> None:
    assert evaluation_steps(100, 0) == set()
    assert evaluation_steps(100, 4) == {0, 25, 50, 75, 100}
    assert evaluation_steps(10, 3) == {0, 3, 7, 10}
    assert evaluation_steps(2, 5) == {0, 1, 2}


class Judge:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model: Any) -> dict[str, float]:
        self.calls += 1
        model.train(False)
        return {"f1": float(self.calls)}


def drive(meter: Meter, folder: Path, first: int, last: int, model: Any) -> None:
    args, state = SimpleNamespace(output_dir=str(folder)), SimpleNamespace(global_step=first, max_steps=8)
    state.num_input_tokens_seen = 10 * first
    meter.on_train_begin(args, state, CONTROL, model=model)
    for step in range(first + 1, last + 1):
        state.global_step, state.num_input_tokens_seen = step, 10 * step
        meter.on_step_end(args, state, CONTROL, model=model)
    (folder / f"checkpoint-{last}").mkdir()
    meter.on_save(args, state, CONTROL)


def test_points_survive_an_interruption(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1).train()
    drive(Meter(4, Judge()), tmp_path, 0, 4, model)
    assert model.training
    rest = Meter(4, Judge(), "f1")
    assert rest.newest() == ""
    drive(rest, tmp_path, 4, 8, model)
    assert rest.newest() == "f1 2 at step 8"
    assert [(row["step"], row["tokens"]) for row in rest.points] == [(0, 0), (2, 20), (4, 40), (6, 60), (8, 80)]
    assert [row["figures"]["f1"] for row in rest.points] == [1.0, 2.0, 3.0, 1.0, 2.0]


def test_time_adds_up_and_judging_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"wall": 100.0, "cpu": 7.0}
    clock = SimpleNamespace(perf_counter=lambda: now["wall"], process_time=lambda: now["cpu"])
    monkeypatch.setattr(meters, "time", clock)

    def judge(model: Any) -> dict[str, float]:
        now["wall"] += 50.0
        now["cpu"] += 60.0
        return {}

    model = torch.nn.Linear(1, 1)
    first = Meter(1, judge)
    now["wall"] += 3.0
    now["cpu"] += 5.0
    drive(first, tmp_path, 0, 4, model)
    assert first.read() == (3.0, 5.0)
    assert first.evaluation_seconds == 50.0
    now["wall"] += 1000.0  # lost between two runs
    rest = Meter(1, judge)
    now["wall"] += 2.0
    now["cpu"] += 4.0
    drive(rest, tmp_path, 4, 8, model)
    assert rest.read() == (5.0, 9.0)
    assert rest.evaluation_seconds == 100.0
