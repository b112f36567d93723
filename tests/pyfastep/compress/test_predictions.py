"""Predictions come back from their file as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyfastep.compress.predictions import load_predictions, save_predictions


@pytest.mark.parametrize("texts", [[], [""], ["Zoë", "", "a\0", "\ud7ff \U0001f600"]])
def test_texts(texts: list[str], tmp_path: Path) -> None:
    save_predictions(texts, tmp_path)
    assert load_predictions(tmp_path) == texts


@pytest.mark.parametrize("values", [np.arange(3), np.zeros((0, 4), np.float32), np.array([[1.5, -0.0]], np.float32)])
def test_an_array(values: np.ndarray, tmp_path: Path) -> None:
    save_predictions(values, tmp_path)
    found = load_predictions(tmp_path)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype


@pytest.mark.parametrize("names", [("text",), ("text", "query", "passage")])
def test_arrays_by_name(names: tuple[str, ...], tmp_path: Path) -> None:
    arrays = {name: np.full((2, place), 0.1, np.float32) for place, name in enumerate(names)}
    save_predictions(arrays, tmp_path)
    found = load_predictions(tmp_path)
    assert list(found) == list(names)
    for name in names:
        np.testing.assert_array_equal(found[name], arrays[name])
