"""Files are checked before anything is trained: each error names the file, the place and what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datasets")

from pyfastep.compress.data.files import file_splits
from pyfastep.compress.data.splits import Splits
from pyfastep.compress.recipe import DataSettings, TaskSettings
from pyfastep.errors import FastEPError


def squad(text: str = "1912", start: Any = 9, **changes: Any) -> dict[str, Any]:
    item = {"id": "q1", "question": "When?", "answers": [{"text": text, "answer_start": start}], **changes}
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "It sank 1912.", "qas": [item]}]}]}


def read(tmp_path: Path, kind: str, name: str, train: str, held_out: str | None = None, **task: Any) -> Splits:
    for part, content in (("train", train), ("eval", train if held_out is None else held_out)):
        (tmp_path / f"{part}{name}").write_text(content)
    data = DataSettings(train=str(tmp_path / f"train{name}"), eval=str(tmp_path / f"eval{name}"))
    return file_splits(data, TaskSettings(kind, **task), tmp_path / "cache")  # type: ignore[arg-type]


def test_squad(tmp_path: Path) -> None:
    splits = read(tmp_path, "question-answering", ".json", json.dumps(squad(start=8)))
    assert splits.train[0] == {
        "id": "q1",
        "question": "When?",
        "context": "It sank 1912.",
        "answers": {"text": ["1912"], "answer_start": [8]},
    }
    splits.save(tmp_path / "saved")
    assert Splits.load(tmp_path / "saved").eval[0] == splits.eval[0]


def test_flat_questions(tmp_path: Path) -> None:
    row = {"question": "When?", "context": "It sank 1912.", "answers": {"text": ["1912"], "answer_start": [8]}}
    splits = read(tmp_path, "question-answering", ".jsonl", json.dumps(row))
    assert splits.train[0] == row


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            json.dumps(squad()),
            r"train.json: row 1, id q1: expected the answer '1912' at 9 of its context, found '912.'",
        ),
        (json.dumps(squad(start=8, answers=[])), r"row 1, id q1: the question has no answer"),
        (json.dumps({"data": []}), r"train.json: the file holds no rows"),
        (json.dumps({"rows": []}), r"train.json: expected SQuAD's format, found no 'data' at the top"),
        (json.dumps({"data": [{"paragraphs": [{"qas": [{}]}]}]}), r"found no 'answers' at data\[0\].paragraphs\[0\]"),
        ("", r"train.json: not a SQuAD file"),
        (json.dumps([1]), r"train.json: not a SQuAD file"),
        (json.dumps(squad(start="8")), r"row 1, id q1: expected answers like .*, found .*\['8'\]"),
        (json.dumps(squad(start=-5)), r"row 1, id q1: expected the answer '1912' at -5 of its context, found ''"),
        (json.dumps(squad(start=10**30)), r"row 1, id q1: expected the answer '1912' at 10+ of its context, found ''"),
        (json.dumps(squad(start=8, question="\ud800?")), r"train.json: cannot be read: .*surrogates"),
    ],
)
def test_bad_questions(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        read(tmp_path, "question-answering", ".json", content)


def test_one_malformed_question_among_others(tmp_path: Path) -> None:
    content = squad(start=8)
    content["data"] += squad(start="8", id="q2")["data"]
    with pytest.raises(FastEPError, match=r"train.json: row 2, id q2: expected answers like .*, found .*\['8'\]"):
        read(tmp_path, "question-answering", ".json", json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": None}, r"row 1: expected a text in context, found None"),
        ({"question": " "}, r"row 1: expected a text in question, found ' '"),
        ({"answers": {"text": ["1912"]}}, r"row 1: expected answers like .*, found {'text': \['1912'\]}"),
        ({"answers": "1912"}, r"row 1: expected answers like .*, found '1912'"),
    ],
)
def test_bad_flat_questions(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = {"question": "When?", "context": "It sank 1912.", "answers": {"text": ["1912"], "answer_start": [8]}}
    with pytest.raises(FastEPError, match=message):
        read(tmp_path, "question-answering", ".jsonl", json.dumps({**row, **change}))


def test_a_query_needs_its_passage(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match=r"expected the columns text, query, passage, found text, query"):
        read(tmp_path, "sentence-embedding", ".jsonl", json.dumps({"text": "One.", "query": "Two?"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": None}, r"eval.jsonl: row 2: expected a text in query, found None"),
        ({"passage": ""}, r"eval.jsonl: row 2: expected a text in passage, found ''"),
    ],
)
def test_queries_and_passages_that_are_measured_are_texts(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    row = {"text": "One.", "query": "One?", "passage": "One and two."}
    bad = "\n".join(map(json.dumps, (row, {**row, **change})))
    assert len(read(tmp_path, "sentence-embedding", ".jsonl", bad, json.dumps(row)).train) == 2
    with pytest.raises(FastEPError, match=message):
        read(tmp_path, "sentence-embedding", ".jsonl", json.dumps(row), bad)


def test_classes_from_csv_and_jsonl(tmp_path: Path) -> None:
    splits = read(tmp_path, "text-classification", ".csv", "text,label\ngood,pos\nbad,neg\n", "text,label\nfine,pos\n")
    assert splits.labels == ("neg", "pos")
    assert sorted(zip(splits.train["text"], splits.train["label"], strict=True)) == [("bad", 0), ("good", 1)]
    assert splits.eval[:] == {"text": ["fine"], "label": [1]}
    rows = "\n".join(json.dumps({"a": "x", "b": "y", "same": n}) for n in (1, 0))
    options: dict[str, Any] = {"text_columns": ("a", "b"), "label_column": "same"}
    splits = read(tmp_path, "text-classification", ".jsonl", rows, **options)
    assert sorted(splits.train["label"]) == [0, 1]
    assert splits.train[0] == {"text": "x", "text_pair": "y", "label": splits.train[0]["label"]}


@pytest.mark.parametrize("word", ["None", "NA", "N/A", "n/a", "null", "NULL", "nan", "NaN", "<NA>"])
def test_words_of_a_csv_file_are_words(tmp_path: Path, word: str) -> None:
    splits = read(tmp_path, "text-classification", ".csv", f"text,label\n{word},some\nb,{word}\n")
    assert set(splits.labels) == {"some", word}
    assert splits.eval["text"][:] == [word, "b"]
    assert [splits.labels[number] for number in splits.eval["label"]] == ["some", word]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (["x"], r"train.jsonl: row 1: expected a name or a number as label, found \['x'\]"),
        ({"a": 1}, r"train.jsonl: row 1: expected a name or a number as label, found {'a': 1}"),
    ],
)
def test_labels_that_are_no_names(tmp_path: Path, label: Any, message: str) -> None:
    good = "\n".join(json.dumps({"text": "a", "label": name}) for name in "xy")
    bad = json.dumps({"text": "a", "label": label})
    with pytest.raises(FastEPError, match=message):
        read(tmp_path, "text-classification", ".jsonl", bad, good)
    with pytest.raises(FastEPError, match=message.replace("train", "eval")):
        read(tmp_path, "text-classification", ".jsonl", good, bad)


@pytest.mark.parametrize(
    ("written", "classes", "labels", "numbers"),
    [
        (("sport", "world"), ("world", "sport"), ("world", "sport"), [1, 0]),  # of the checkpoint
        (("sport", "world"), ("world", "money", "sport"), ("world", "money", "sport"), [2, 0]),
        (("0", "1"), ("world", "sport"), ("world", "sport"), [0, 1]),  # CSV: numbers
        (("sport", "art"), ("world", "sport"), ("art", "sport"), [1, 0]),  # another task
        (("1", "2"), ("world", "sport"), ("1", "2"), [0, 1]),
    ],
)
def test_labels_are_numbered_as_the_checkpoint_does(
    tmp_path: Path, written: tuple[str, str], classes: tuple[str, ...], labels: tuple[str, ...], numbers: list[int]
) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"text,label\na,{written[0]}\nb,{written[1]}\n")
    data = DataSettings(train=str(file), eval=str(file))
    splits = file_splits(data, TaskSettings("text-classification"), tmp_path / "cache", classes=classes)
    assert splits.labels == labels
    assert splits.eval["label"][:] == numbers


def test_sorted_files_are_shuffled_before_they_are_cut(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\n" + "".join(f"t{row},{row // 100}\n" for row in range(200)))
    data = DataSettings(train=str(file), eval=str(file), train_samples=40, eval_samples=40)
    task = TaskSettings("text-classification")
    first, second, third = (file_splits(data, task, tmp_path / "cache", seed=seed) for seed in (0, 0, 1))
    for part in ("train", "eval"):
        assert 5 < sum(getattr(first, part)["label"]) < 35
        assert getattr(first, part)["text"][:] == getattr(second, part)["text"][:]
        assert getattr(first, part)["text"][:] != getattr(third, part)["text"][:]


@pytest.mark.parametrize(
    ("train", "held_out", "message"),
    [
        (
            "text,kind\na,b\n",
            None,
            r"train.csv: expected the columns text, label, found text, kind \(label is missing\)",
        ),
        ("text,label\na,b\n", None, r"train.csv: expected at least two labels, found \['b'\]"),
        (
            "text,label\na,b\nc,d\n",
            "text,label\na,e\n",
            r"eval.csv: row 1: expected a label of the training data, found 'e'",
        ),
        ("text,label\na,b\nc,\n", None, r"train.csv: row 2: expected a label, found none"),
        ("text,label\na,1\nc,0\nd,\n", None, r"train.csv: row 3: expected a label, found none"),
        (
            "text,label\na,1\nc,0\n",
            "text,label\na,1\nc,\n",
            r"eval.csv: row 2: expected a label of the training data, found None",
        ),
        ('text,label\na,b\nc,""\n', None, r"train.csv: row 2: expected a label, found none"),
        ("text,label\na,b\n,d\n", None, r"train.csv: row 2: expected a text in text, found None"),
        ("text,label\n", None, r"train.csv: the file holds no rows"),
        ("", None, r"train.csv: the file holds no rows"),
    ],
)
def test_bad_classes(tmp_path: Path, train: str, held_out: str | None, message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        read(tmp_path, "text-classification", ".csv", train, held_out)


def test_sentences(tmp_path: Path) -> None:
    splits = read(tmp_path, "sentence-embedding", ".txt", "One.\n\nTwo.\n")
    assert sorted(splits.train["text"]) == ["One.", "Two."]
    with pytest.raises(FastEPError, match=r"train.txt: the file holds no rows"):
        read(tmp_path, "sentence-embedding", ".txt", "\n\n")


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    task = TaskSettings("sentence-embedding")
    with pytest.raises(FastEPError, match=r"a.txt: no such data file \(check data.train\)"):
        file_splits(DataSettings(train=str(tmp_path / "a.txt"), eval="b.txt"), task, tmp_path)
    (tmp_path / "a.xml").write_text("x")
    with pytest.raises(FastEPError, match=r"expected a file .csv, .*found '.xml'"):
        file_splits(DataSettings(train=str(tmp_path / "a.xml"), eval="b"), task, tmp_path)
