"""Data from files, read by `datasets` and checked before anything is trained.

Question answering: SQuAD's JSON, or JSONL with its columns, an answer to every question. Text classification: CSV or
JSONL. Sentences: plain text, one a line, or JSONL with ``text`` and on request ``query`` and ``passage``. A name that
is no file is looked up on the hub.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfastep._text import first_line
from pyfastep.compress.data.splits import Splits
from pyfastep.compress.recipe import DataSettings, TaskSettings
from pyfastep.errors import FastEPError

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["file_splits"]

_FORMATS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".txt": "text"}
_QUESTION_COLUMNS = ("question", "context", "answers")
_HUB_SPLITS = {"train": "train", "eval": "validation"}


def file_splits(
    data: DataSettings, task: TaskSettings, cache: Path, seed: int = 0, classes: Sequence[str] = ()
) -> Splits:
    """Both files, checked; see the module's text.

    Training rows are shuffled, as files are often sorted: the first of them are what calibrates. So are those of the
    evaluation if not all of them are wanted.

    Args:
        data: Files and how many rows of them.
        task: Decides the columns.
        cache: Folder for what `datasets` keeps.
        seed: Of the shuffling.
        classes: Of the checkpoint's own classifier, in its order; empty if it has none.

    Raises:
        FastEPError: Missing, empty or malformed: names the file and the row, what was expected and what was found.
    """
    rows = {name: _read(getattr(data, name), name, task.kind, cache) for name in ("train", "eval")}
    labels: tuple[str, ...] = ()
    if task.kind == "question-answering":
        rows = {name: _checked_questions(table, getattr(data, name)) for name, table in rows.items()}
    elif task.kind == "text-classification":
        rows, labels = _labelled(rows, data, task, classes)
    else:
        rows = {name: _checked_sentences(table, getattr(data, name), name) for name, table in rows.items()}
    limits = {"train": data.train_samples, "eval": data.eval_samples}
    wanted = {name: min(limits[name] or len(table), len(table)) for name, table in rows.items()}
    cut = {
        name: table.shuffle(seed=seed).select(range(wanted[name]))
        if name == "train" or wanted[name] < len(table)
        else table
        for name, table in rows.items()
    }
    return Splits(cut["train"], cut["eval"], labels)


def _read(source: str, split: str, kind: str, cache: Path) -> Dataset:
    from datasets import load_dataset

    path = Path(source)
    if not path.exists() and (path.suffix in _FORMATS or path.is_absolute()):
        raise FastEPError("no such data file", node=source, remedy=f"check data.{split}")
    try:
        if path.is_file():
            table = _read_file(path, kind, cache)
        else:
            table = load_dataset(source, split=_HUB_SPLITS[split], cache_dir=str(cache))
    except FastEPError:
        raise
    except Exception as error:  # the libraries' errors share no base
        what = "cannot be read" if path.is_file() else "is no file and cannot be had from the hub"
        raise FastEPError(
            f"{what}: {first_line(error.__cause__ or error)}", node=source, remedy=f"check data.{split}"
        ) from error
    if len(table) == 0:
        raise FastEPError("the file holds no rows", node=source)
    return table


def _read_file(path: Path, kind: str, cache: Path) -> Dataset:
    from datasets import Dataset, load_dataset

    if path.suffix == ".json" and kind == "question-answering":
        rows = list(_squad_rows(path))
        for number, row in enumerate(rows, 1):
            _check_question(row, number, str(path))
        return Dataset.from_list(rows)
    with path.open("rb") as file:
        lines = sum(1 for _ in itertools.islice(filter(bytes.strip, file), 2))
    if lines <= (path.suffix == ".csv"):  # the first line of CSV names the columns
        raise FastEPError("the file holds no rows", node=str(path))
    options: dict[str, Any] = {"data_files": str(path), "split": "train", "cache_dir": str(cache)}
    if path.suffix == ".csv":
        options |= {"keep_default_na": False, "na_values": [""]}  # "None" and "NA" are words
    return load_dataset(_format(path), **options)


def _format(path: Path) -> str:
    if path.suffix not in _FORMATS:
        raise FastEPError(f"expected a file {', '.join(_FORMATS)}, found {path.suffix!r}", node=str(path))
    return _FORMATS[path.suffix]


def _squad_rows(path: Path) -> Iterator[dict[str, Any]]:
    """SQuAD's nested JSON as flat rows."""
    place = "the top"
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
        for a, article in enumerate(articles):
            for p, paragraph in enumerate(article["paragraphs"]):
                place = f"data[{a}].paragraphs[{p}]"
                for item in paragraph["qas"]:
                    answers = item["answers"]
                    yield {
                        "id": str(item["id"]),
                        "question": item["question"],
                        "context": paragraph["context"],
                        "answers": {
                            "text": [answer["text"] for answer in answers],
                            "answer_start": [answer["answer_start"] for answer in answers],
                        },
                    }
    except KeyError as error:
        raise FastEPError(f"expected SQuAD's format, found no {error} at {place}", node=str(path)) from error
    except (TypeError, ValueError) as error:
        raise FastEPError(f"not a SQuAD file: {error}, at {place}", node=str(path)) from error


def _require_columns(table: Dataset, source: str, columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise FastEPError(
            f"expected the columns {', '.join(columns)}, found {', '.join(table.column_names)}",
            node=source,
            remedy=f"{missing[0]} is missing",
        )


def _checked_questions(table: Dataset, source: str) -> Dataset:
    _require_columns(table, source, _QUESTION_COLUMNS)
    for number, row in enumerate(table, 1):
        _check_question(row, number, source)
    return table.select_columns([name for name in ("id", *_QUESTION_COLUMNS) if name in table.column_names])


def _check_question(row: dict[str, Any], number: int, source: str) -> None:
    where = f"{source}: row {number}" + (f", id {row['id']}" if "id" in row else "")
    texts, starts = _answers(row, where)
    if not texts or len(texts) != len(starts):
        raise FastEPError("the question has no answer", node=where, remedy="only answerable questions can be used")
    for text, start in zip(texts, starts, strict=True):
        found = row["context"][start : start + len(text)] if start >= 0 else ""
        if not text or found != text:
            raise FastEPError(f"expected the answer {text!r} at {start} of its context, found {found!r}", node=where)


def _answers(row: dict[str, Any], where: str) -> tuple[list[str], list[int]]:
    for name in ("question", "context"):
        if not isinstance(row[name], str) or not row[name].strip():
            raise FastEPError(f"expected a text in {name}, found {row[name]!r}", node=where)
    answers = row["answers"]
    if not isinstance(answers, dict) or not all(
        isinstance(answers.get(name), list) and all(isinstance(value, kind) for value in answers[name])
        for name, kind in (("text", str), ("answer_start", int))
    ):
        raise FastEPError(
            f"expected answers like {{'text': ['a'], 'answer_start': [0]}}, found {answers!r}", node=where
        )
    return answers["text"], answers["answer_start"]


def _checked_sentences(table: Dataset, source: str, split: str) -> Dataset:
    """Query and passage belong together; only those of the evaluation are ever read."""
    columns: tuple[str, ...] = ("text",)
    if "query" in table.column_names or "passage" in table.column_names:
        _require_columns(table, source, ("text", "query", "passage"))
        columns = ("text", "query", "passage") if split == "eval" else columns
    return _checked_texts(table, source, columns)


def _checked_texts(table: Dataset, source: str, columns: tuple[str, ...]) -> Dataset:
    """Rows whose texts are texts; empty lines of a plain text file are no rows."""
    _require_columns(table, source, columns)
    if table.column_names == ["text"]:
        table = table.filter(lambda row: bool(row["text"] and row["text"].strip()), desc="empty lines")
        if len(table) == 0:
            raise FastEPError("the file holds no text", node=source)
    for name in columns:
        for number, text in enumerate(table[name], 1):
            if not isinstance(text, str) or not text.strip():
                raise FastEPError(f"expected a text in {name}, found {text!r}", node=f"{source}: row {number}")
    kept = [name for name in (*columns, "query", "passage") if name in table.column_names]
    return table.select_columns(list(dict.fromkeys(kept)))


def _labelled(
    rows: dict[str, Dataset], data: DataSettings, task: TaskSettings, classes: Sequence[str]
) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """Texts named ``text`` and ``text_pair``, and labels as numbers.

    The checkpoint's numbers where it knows the labels by name, or where the data number them; else in the order of
    their sorted names.
    """
    for name, table in rows.items():
        _require_columns(table, getattr(data, name), (*task.text_columns, task.label_column))
        for number, value in enumerate(table[task.label_column], 1):
            if isinstance(value, list | dict):
                where = f"{getattr(data, name)}: row {number}"
                raise FastEPError(f"expected a name or a number as label, found {value!r}", node=where)
    numbers, names = _numbered(rows["train"][task.label_column], data.train, classes)
    done = {}
    for name, table in rows.items():
        source = getattr(data, name)
        for number, value in enumerate(table[task.label_column], 1):
            if value not in numbers:
                raise FastEPError(
                    f"expected a label of the training data, found {value!r}", node=f"{source}: row {number}"
                )
        texts = _checked_texts(table, source, task.text_columns)
        renamed = texts.rename_columns(dict(zip(task.text_columns, ("text", "text_pair"), strict=False)))
        done[name] = renamed.add_column("label", [numbers[value] for value in table[task.label_column]])
    return done, names


def _numbered(values: Sequence[Any], source: str, classes: Sequence[str]) -> tuple[dict[Any, int], tuple[str, ...]]:
    """The number of each label, and the labels' names by number."""
    empty = next((row for row, value in enumerate(values, 1) if value is None or value == ""), None)
    if empty is not None:
        raise FastEPError("expected a label, found none", node=f"{source}: row {empty}")
    known = sorted(set(values), key=lambda value: (str(type(value)), value))
    if len(known) < 2:
        raise FastEPError(f"expected at least two labels, found {known}", node=source)
    if classes and {str(value) for value in known} <= set(classes):
        return {value: list(classes).index(str(value)) for value in known}, tuple(classes)
    if classes and all(type(value) is int and 0 <= value < len(classes) for value in known):
        return {value: value for value in known}, tuple(classes)
    return {value: number for number, value in enumerate(known)}, tuple(map(str, known))
