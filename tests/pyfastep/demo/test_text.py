"""Texts of the demo: real, distinct, in a fixed order."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from pyfastep.demo import text
from pyfastep.errors import FastEPError


def test_texts_are_distinct_prose_in_a_fixed_order() -> None:
    texts = text.docstrings(500, seed=3)
    assert len(set(texts)) == 500
    assert texts == text.docstrings(500, seed=3)
    assert texts != text.docstrings(500, seed=4)
    assert all(len(entry) >= 40 for entry in texts)
    assert not any("  " in entry or "\n" in entry for entry in texts)


def test_smaller_count_is_a_prefix() -> None:
    assert text.docstrings(10) == text.docstrings(20)[:10]


def test_too_few_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text('"""A module that has just one docstring, long enough to be counted."""\n')
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "two.py").write_text('"""A test module, whose docstring is not counted here at all."""\n')
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert len(text.docstrings(1)) == 1
    with pytest.raises(FastEPError, match="2 docstrings wanted, 1 found"):
        text.docstrings(2)


def test_first_sentence() -> None:
    assert text.first_sentence("Return the value. Then stop.") == "Return the value"
    assert text.first_sentence("No stop at all") == "No stop at all"
