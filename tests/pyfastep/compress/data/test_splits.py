"""Splits on disk; what is in them is tested with the files."""

from __future__ import annotations

from pathlib import Path

import pytest

datasets = pytest.importorskip("datasets")

from pyfastep.compress.data.splits import Splits  # noqa: E402


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"text": ["a", "b"]})
    Splits(table, table.select([1]), ("x", "y"), {"chance": 12.5}).save(tmp_path)
    again = Splits.load(tmp_path)
    assert again.train[:] == table[:]
    assert again.eval[:] == {"text": ["b"]}
    assert (again.labels, again.notes) == (("x", "y"), {"chance": 12.5})
    assert again.primer is None


def test_a_primer_comes_back(tmp_path: Path) -> None:
    table = datasets.Dataset.from_dict({"text": ["a", "b"]})
    Splits(table, table, primer=table.select([0])).save(tmp_path)
    primer = Splits.load(tmp_path).primer
    assert primer is not None
    assert primer[:] == {"text": ["a"]}
