"""Sentences out of documentation: what is prose, what is not, and a clean division by file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pyfastep.compress.data.sentences import docstring_pairs, documentation_files, sentence_splits, sentences_of
from pyfastep.errors import FastEPError

SOURCE = '''"""Opens the gate of the old garden wall.

The gate is made of wood and hangs on two iron hinges. It has no lock at all.

    >>> this_is(code)
"""
def f():
    """Too short."""
'''
MANUAL = """.TH GATE 1
.SH NAME
gate \\- this line is a heading and not to be taken for prose at all.
.SH DESCRIPTION
The \\fBgate\\fP command opens the garden for every visitor who asks politely.
.TP
Without an argument it closes the garden again after a short while.
.SH AUTHOR
This section has names and addresses of people who wrote it long ago.
"""


def test_python_files(tmp_path: Path) -> None:
    path = tmp_path / "gate.py"
    path.write_text(SOURCE)
    assert list(sentences_of(path)) == [
        "Opens the gate of the old garden wall.",
        "The gate is made of wood and hangs on two iron hinges.",
    ]
    (pair,) = docstring_pairs(path)
    assert pair[0] == "Opens the gate of the old garden wall."
    assert pair[1].startswith("The gate is made of wood")


def test_manual_pages(tmp_path: Path) -> None:
    path = tmp_path / "gate.1.gz"
    path.write_bytes(gzip.compress(MANUAL.encode()))
    assert list(sentences_of(path)) == [
        "The gate command opens the garden for every visitor who asks politely.",
        "Without an argument it closes the garden again after a short while.",
    ]


def test_what_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    for name, content in (("a.py", b"def ("), ("b.1.gz", b"no gzip"), ("c.txt", b"\xff\xfe\x00")):
        (tmp_path / name).write_bytes(content)
        assert list(sentences_of(tmp_path / name)) == []


def test_which_files_are_read(tmp_path: Path) -> None:
    for name in (
        "man/man1/a.1.gz",
        "man/de/man1/a.1.gz",
        "doc/x/README.gz",
        "doc/x/copyright",
        "p/tests/t.py",
        "p/m.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [str(path.relative_to(tmp_path)) for path in documentation_files([tmp_path])]
    assert found == ["doc/x/README.gz", "man/man1/a.1.gz", "p/m.py"]


def documented(root: Path, files: int) -> None:
    words = ["garden", "river", "stone", "window", "market", "letter", "bridge", "forest", "candle", "harbour"]
    for number in range(files):
        noun, other = words[number % 10], words[number // 10 % 10]
        text = (
            f"Describes the {noun} number {number} near the {other}.\n\n"
            f"The {noun} called {number} was seen by many people in the summer."
        )
        (root / f"m{number}.py").write_text(f'"""{text}"""\n"""x"""\n')


def test_nothing_measured_is_trained_on(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    documented(tmp_path, 120)
    (tmp_path / "copy.py").write_text((tmp_path / "m3.py").read_text())
    splits = sentence_splits(60, 5, seed=1, roots=[tmp_path])
    assert isinstance(splits.train, datasets.Dataset)
    train, held_out = (
        set(splits.train["text"]),
        {text for name in splits.eval.column_names for text in splits.eval[name]},
    )
    assert len(train) == 60
    assert not train & held_out
    assert sentence_splits(60, 5, seed=1, roots=[tmp_path]).train["text"][:] == splits.train["text"][:]
    assert all(query.startswith("Describes") for query in splits.eval["query"])


def test_too_little_documentation(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    documented(tmp_path, 30)
    with pytest.raises(
        FastEPError, match=r"data.train_samples: 5000 sentences wanted, this machine's documentation holds"
    ):
        sentence_splits(5000, 1, seed=0, roots=[tmp_path])
