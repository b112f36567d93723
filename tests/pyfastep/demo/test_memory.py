"""The forms of one model, opened one by one."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from pyfastep.demo.build import BuiltModel
from pyfastep.demo.memory import MEMORY_MODEL, measure_forms
from pyfastep.demo.models import MODELS


def test_every_form_is_written_and_opened(quantized_model: Path, fast_model: Path, tmp_path: Path) -> None:
    quantized, fast = (Path(shutil.copy(path, tmp_path)) for path in (quantized_model, fast_model))
    model = next(model for model in MODELS if model.name == MEMORY_MODEL)
    said: list[str] = []
    rows = measure_forms(BuiltModel(model, quantized, fast, 0.8), said.append)
    assert [row.engine for row in rows] == ["ort", "fastep", "fastep", "fastep", "fastep"]
    assert len({row.name for row in rows}) == len(rows)
    assert all(dataclasses.astuple(row)[2] > 0 for row in rows)
    assert said
