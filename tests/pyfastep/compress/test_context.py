"""What calibrates."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("datasets")

from pyfastep.compress.context import Context
from pyfastep.compress.recipe_file import load_recipe
from pyfastep.compress.workspace import Workspace


def test_calibration_arrays_hold_token_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros where the tokenizer gives none: an exported BERT takes them."""
    context = Context(load_recipe("smoke"), Workspace(tmp_path), lambda step, share, what: None)
    rows = [{"input_ids": [5, 6, 7]}, {"input_ids": [5, 6], "token_type_ids": [0, 1]}]
    monkeypatch.setattr(context, "calibration_rows", lambda: rows)
    first, second = context.calibration_arrays()
    assert first["token_type_ids"].tolist() == [[0, 0, 0]]
    assert second["token_type_ids"].tolist() == [[0, 1]]
