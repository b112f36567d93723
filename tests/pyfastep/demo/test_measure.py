"""What the demo measures, on tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyfastep.demo import build, measure
from pyfastep.demo.models import DemoModel, minilm_tokenizer
from pyfastep.demo.similarity import token_batches
from pyfastep.demo.text import docstrings
from pyfastep.errors import FastEPError


@pytest.mark.usefixtures("tiny_models")
def test_every_model_is_measured_on_every_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_ROUNDS", 5)
    calibration = build.write_calibration(tmp_path)
    models = [DemoModel("distilbert"), DemoModel("distilbert", (4, 4), 0.5)]
    baseline = build.build_baseline(models[0], tmp_path, calibration, print)
    built = [build.build_model(model, tmp_path, calibration, print) for model in models]
    rows = measure.measure_speed(built, baseline, lengths=[5, 16], progress=print)
    assert [(row.name, row.length) for row in rows] == [(m.name, n) for m in models for n in (5, 16)]
    for row in rows:
        integer = (row.int8, *row.others)
        forms = {time.engine.split(" without ")[0] for time in integer}
        assert forms == {"dynamic", "static", "static-float", f"static of {row.name}"}
        assert row.int8.median_ms == min(time.median_ms for time in integer)
        assert row.speedup == row.int8.median_ms / row.fastep.median_ms
        assert 0 < row.fastep.p10_ms <= row.fastep.median_ms <= row.fastep.p90_ms
    assert rows[0].fp32 == rows[2].fp32, "one float measurement serves all patterns"

    agreed = measure.agreement(built[1], token_batches(docstrings(4), minilm_tokenizer(), batch=2))
    assert agreed.cosine > 0.99
    assert agreed.mean_magnitude > 0
    assert agreed.largest_difference < agreed.mean_magnitude


@pytest.mark.usefixtures("tiny_models")
def test_an_engine_that_fails_is_an_error(tmp_path: Path) -> None:
    calibration = build.write_calibration(tmp_path)
    baseline = build.build_baseline(DemoModel("distilbert"), tmp_path, calibration, print)
    built = build.build_model(DemoModel("distilbert"), tmp_path, calibration, print)
    baseline.static.write_bytes(b"damaged")
    with pytest.raises(FastEPError, match="static: not measured"):
        measure.measure_speed([built], baseline, lengths=[5], progress=print)
