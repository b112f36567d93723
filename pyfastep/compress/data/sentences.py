"""Real English sentences that are on every machine: docstrings, manual pages, documentation files.

Each file is either training or evaluation, decided by a checksum of its name, and a sentence that occurs in both is
dropped from training: nothing that is measured on was ever seen. Evaluation pairs for retrieval are docstrings: the
first line, and the rest, which says the same at length.
"""

from __future__ import annotations

import ast
import gzip
import random
import re
import sysconfig
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyfastep.compress.data.splits import Splits
from pyfastep.errors import FastEPError

__all__ = ["docstring_pairs", "documentation_files", "sentence_splits", "sentences_of"]

_EVAL_SHARE = 10  # one file of so many
_MIN_CHARS, _MAX_CHARS = 30, 400
_MIN_WORD_SHARE = 0.7
_MAX_FILE_BYTES = 400_000
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_LETTERS = re.compile(r"[A-Za-z]")
# Of roff: a font change, a special character, a request line.
_ROFF_INLINE = re.compile(r"\\f[A-Z]|\\f\(..|\\f\[\w*\]|\\s[-+]?\d|\\\(..|\\\[\w+\]|\\[&/,|^]")
_ROFF_SECTIONS = re.compile(r"^\.(SH|Sh)\s+\"?(\w+)")
_PROSE_SECTIONS = {"DESCRIPTION", "OPTIONS", "NOTES", "OVERVIEW", "INTRODUCTION", "CAVEATS", "BUGS", "EXAMPLES"}


def sentence_splits(train: int, held_out: int, seed: int, roots: Iterable[Path] | None = None) -> Splits:
    """Sentences to train and to measure on, distinct after lower-casing, in an order that ``seed`` fixes.

    The evaluation's rows have ``query`` and ``passage`` too, docstrings of held-out files.

    Args:
        train: Number of sentences.
        held_out: Number of sentences, and of pairs, for evaluation.
        seed: Of the order.
        roots: Folders to read; by default those of :func:`documentation_files`.

    Raises:
        FastEPError: This machine's documentation holds fewer.
    """
    from datasets import Dataset

    files = documentation_files(roots)
    random.Random(seed).shuffle(files)
    eval_files = [path for path in files if zlib.crc32(str(path).encode()) % _EVAL_SHARE == 0]
    measured = _collect(eval_files, held_out, set())
    known = {_key(text) for text in measured}
    pairs = _collect_pairs(eval_files, held_out)
    known |= {_key(text) for pair in pairs for text in pair}
    rest = sorted(set(files) - set(eval_files))
    random.Random(seed).shuffle(rest)
    trained = _collect(rest, train, known)
    for wanted, found, what in (
        (train, trained, "train_samples"),
        (held_out, measured, "eval_samples"),
        (held_out, pairs, "eval_samples (docstring pairs)"),
    ):
        if len(found) < wanted:
            raise FastEPError(
                f"{wanted} sentences wanted, this machine's documentation holds {len(found)}",
                node=f"data.{what}",
                remedy="ask for fewer, or install more packages with sources and manual pages",
            )
    random.Random(seed).shuffle(trained)
    queries, passages = (list(column) for column in zip(*pairs, strict=True))
    evaluation = {"text": measured, "query": queries, "passage": passages}
    return Splits(Dataset.from_dict({"text": trained}), Dataset.from_dict(evaluation))


def documentation_files(roots: Iterable[Path] | None = None) -> list[Path]:
    """Python sources of the interpreter and of what is installed in it, manual pages, and text files of packages."""
    if roots is None:
        places = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), "/usr/share/man", "/usr/share/doc"]
        roots = [Path(place) for place in places if place]
    kinds = ("*.py", "*.[1-8].gz", "*.[1-8]", "*.txt", "*.txt.gz", "*.md", "*.md.gz", "README*.gz", "README*")
    found = {path for root in roots if root.is_dir() for kind in kinds for path in root.rglob(kind)}
    return sorted(path for path in found if _is_wanted(path))


def sentences_of(path: Path) -> Iterator[str]:
    """Whole sentences of prose in a file; nothing from a file that cannot be read."""
    paragraphs: Iterable[str]
    if path.suffix == ".py":
        paragraphs = (part for text in _docstrings(path) for part in text.split("\n\n"))
    elif re.search(r"\.[1-8](\.gz)?$", path.name):
        paragraphs = _manual_paragraphs(_read(path))
    else:
        paragraphs = _read(path).split("\n\n")
    for paragraph in paragraphs:
        if not _is_listing(paragraph):
            for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
                if _is_prose(sentence):
                    yield sentence


def docstring_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """First line and second paragraph of the docstrings of a Python file, where both are prose."""
    if path.suffix == ".py":
        for text in _docstrings(path):
            first, *others = [" ".join(part.split()) for part in text.split("\n\n")]
            if others and len(first) >= _MIN_CHARS // 2 and _is_prose(others[0]):
                yield first, others[0]


def _collect(files: Iterable[Path], count: int, known: set[str]) -> list[str]:
    seen, found = set(known), []
    for path in files:
        for sentence in sentences_of(path):
            if _key(sentence) not in seen:
                seen.add(_key(sentence))
                found.append(sentence)
        if len(found) >= count:
            break
    return found[:count]


def _collect_pairs(files: Iterable[Path], count: int) -> list[tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    passages: set[str] = set()
    for path in files:
        for query, passage in docstring_pairs(path):
            # Two queries with the same right answer, or the same query twice, cannot both be found.
            if _key(query) not in found and _key(passage) not in passages:
                found[_key(query)] = (query, passage)
                passages.add(_key(passage))
        if len(found) >= count:
            break
    return list(found.values())[:count]


def _key(text: str) -> str:
    return " ".join(text.lower().split())


def _is_wanted(path: Path) -> bool:
    skipped = {"test", "tests", "copyright", "locale", "node_modules"}
    # Only untranslated manual pages: man1, not de/man1.
    translated = "man" in path.parts and not path.parts[path.parts.index("man") + 1].startswith("man")
    named = set(path.parts) & skipped or "changelog" in path.name.lower() or "license" in path.name.lower()
    return not named and not translated and path.is_file() and 0 < path.stat().st_size < _MAX_FILE_BYTES


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "ignore")
    except (OSError, EOFError, zlib.error):
        return ""


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old escape sequences in other people's sources
            tree = ast.parse(_read(path))
    except (SyntaxError, ValueError, RecursionError):
        return  # templates and broken examples are no loss
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text


def _manual_paragraphs(roff: str) -> Iterator[str]:
    """Running text of a manual page's prose sections."""
    lines: list[str] = []
    prose = False
    for line in roff.splitlines():
        section = _ROFF_SECTIONS.match(line)
        if section:
            prose = section[2].upper() in _PROSE_SECTIONS
        if line.startswith((".", "'")) or not line.strip():
            yield " ".join(lines)
            lines = []
        elif prose:
            lines.append(_ROFF_INLINE.sub("", line).replace("\\-", "-"))
    yield " ".join(lines)


def _is_listing(paragraph: str) -> bool:
    """Code, tables and option lists rather than prose."""
    return any(mark in paragraph for mark in (">>>", "::", "===", "---", "|", "    :", "\t", ".. ", "```"))


def _is_prose(sentence: str) -> bool:
    if not _MIN_CHARS <= len(sentence) <= _MAX_CHARS or sentence[-1] not in ".!?" or "\\" in sentence:
        return False
    letters = len(_LETTERS.findall(sentence)) + sentence.count(" ")
    return letters >= _MIN_WORD_SHARE * len(sentence) and sentence[0].isupper() and sentence.count(" ") >= 4
