"""What a model answered, as a file: texts, an array, or arrays by name, whatever a task's ``predict`` returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["load_predictions", "save_predictions"]

_TEXTS, _ARRAYS = "predictions.json", "predictions.npz"
# Of the only array, where there are no names.
_ONE = "predictions"


def save_predictions(predictions: Any, folder: Path) -> None:
    """Writes them into ``folder``.

    Args:
        predictions: ``list[str]``, an array, or ``dict[str, array]``.
        folder: Exists.
    """
    if isinstance(predictions, list):
        (folder / _TEXTS).write_text(json.dumps(predictions))
    else:
        np.savez(folder / _ARRAYS, **(predictions if isinstance(predictions, dict) else {_ONE: predictions}))


def load_predictions(folder: Path) -> Any:
    """What :func:`save_predictions` was given."""
    if (folder / _TEXTS).exists():
        return json.loads((folder / _TEXTS).read_text())
    with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
        arrays = dict(stored)
    return arrays[_ONE] if list(arrays) == [_ONE] else arrays
