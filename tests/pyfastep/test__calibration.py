"""Calibration data from every source, and what is said when it does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyfastep._calibration import CalibrationData, ModelInput, count_samples, load_batches
from pyfastep.errors import FastEPError

INT64, FLOAT = np.dtype(np.int64), np.dtype(np.float32)
IDS = ModelInput("input_ids", INT64, (None, None))
MASK = ModelInput("attention_mask", INT64, (None, None))
TYPES = ModelInput("token_type_ids", INT64, (None, None))
POSITIONS = ModelInput("position_ids", np.dtype(np.int32), (None, None))
PIXELS = ModelInput("pixels", FLOAT, (None, 3, None))


def write_lines(path: Path, lines: list[Any]) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def rows(data: CalibrationData, name: str = "input_ids") -> list[list[int]]:
    return sorted(row.tolist() for batch in data.batches for row in batch[name])


def test_arrays_become_batches() -> None:
    data = [{"input_ids": np.arange(10).reshape(5, 2), "attention_mask": np.ones((5, 2), np.int64)}]
    loaded = load_batches(data, [IDS, MASK], batch_size=2)
    assert [count_samples(batch) for batch in loaded.batches] == [2, 2, 1]
    assert loaded.samples == 5
    assert rows(loaded) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_samples_are_limited() -> None:
    arrays = {"input_ids": np.zeros((50, 2), int)}
    assert load_batches([arrays], [IDS], batch_size=4, max_samples=9).samples == 12  # whole batches
    assert load_batches([arrays] * 3, [IDS], batch_size=50, max_samples=51).samples == 100


def test_an_npz_file_and_a_folder_of_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", input_ids=np.array([[1, 2]]), more=np.zeros(1))
    np.savez(tmp_path / "b.npz", input_ids=np.array([[3, 4, 5]]))
    assert rows(load_batches(tmp_path / "a.npz", [IDS])) == [[1, 2]]
    assert rows(load_batches(tmp_path, [IDS])) == [[1, 2], [3, 4, 5]]


def test_token_ids_are_grouped_by_length_and_not_padded(tmp_path: Path) -> None:
    lines = [[5, 6, 7], {"input_ids": [8, 9]}, [1, 2, 3], []]
    path = write_lines(tmp_path / "x.jsonl", lines)
    loaded = load_batches(path, [IDS, MASK, TYPES, POSITIONS])
    assert rows(loaded) == [[1, 2, 3], [5, 6, 7], [8, 9]]
    for batch in loaded.batches:
        assert (batch["attention_mask"] == 1).all()
        assert (batch["token_type_ids"] == 0).all()
        assert batch["position_ids"].dtype == np.int32
        assert (batch["position_ids"] == np.arange(batch["input_ids"].shape[1])).all()


def test_long_sequences_are_cut_but_keep_their_end(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", [list(range(10)), [1]])
    assert rows(load_batches(path, [IDS], max_length=4)) == [[0, 1, 2, 9], [1]]


def test_a_model_of_fixed_shape_gets_padding_with_a_mask(tmp_path: Path) -> None:
    ids, mask = ModelInput("input_ids", INT64, (2, 4)), ModelInput("attention_mask", INT64, (2, 4))
    path = write_lines(tmp_path / "x.jsonl", [[1, 2], [3, 4, 5], [6]])
    loaded = load_batches(path, [ids, mask])
    assert all(batch["input_ids"].shape == (2, 4) for batch in loaded.batches)
    assert [1, 2, 0, 0] in rows(loaded)
    assert [1, 1, 0, 0] in rows(loaded, "attention_mask")
    assert loaded.samples == 3


def test_rows_that_fill_a_fixed_batch_do_not_count(tmp_path: Path) -> None:
    """Neither in the figure nor in the limit: long sequences come last and must not be lost."""
    path = write_lines(tmp_path / "x.jsonl", [[1] * length for length in range(1, 41)])
    loaded = load_batches(path, [ModelInput("input_ids", INT64, (8, None))], max_samples=100)
    assert [batch["input_ids"].shape for batch in loaded.batches] == [(8, length) for length in range(1, 41)]
    assert loaded.samples == 40
    assert load_batches(path, [ModelInput("input_ids", INT64, (8, None))], max_samples=5).samples == 5


def test_texts_need_a_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "good": 1, "day": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.enable_padding(length=9)
    words.save(str(tmp_path / "tokenizer.json"))
    text = write_lines(tmp_path / "x.txt", ["good day", "", "day"])
    for tokenizer in (tmp_path, tmp_path / "tokenizer.json"):
        assert rows(load_batches(text, [IDS], tokenizer=tokenizer)) == [[1, 2], [2]]
    jsonl = write_lines(tmp_path / "x.jsonl", [{"text": "day good"}])
    assert rows(load_batches(jsonl, [IDS], tokenizer=tmp_path)) == [[2, 1]]
    for path in (text, jsonl):
        with pytest.raises(FastEPError, match="tokenizer"):
            load_batches(path, [IDS])


@pytest.mark.parametrize(
    ("arrays", "inputs", "message"),
    [
        ({"ids": [[1]]}, [IDS], r"no array for the model's input input_ids int64 \[\?, \?\]; found ids"),
        ({"input_ids": [[1.5]]}, [IDS], "expected int64, found float64"),
        ({"input_ids": [["a"]]}, [IDS], "expected int64, found"),
        ({"input_ids": [1, 2]}, [IDS], r"found shape \[2\]"),
        ({"pixels": np.zeros((1, 4, 5))}, [PIXELS], r"expected pixels float32 \[\?, 3, \?\], found shape \[1, 4, 5\]"),
        ({"pixels": np.full((1, 3, 1), np.nan)}, [PIXELS], "NaN"),
        ({"input_ids": [[1]], "attention_mask": [[1], [1]]}, [IDS, MASK], "different numbers of samples"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict[str, Any], inputs: list[ModelInput], message: str) -> None:
    with pytest.raises(FastEPError, match=message) as caught:
        load_batches([{name: np.asarray(value) for name, value in arrays.items()}], inputs)
    assert "data[0]" in str(caught.value)


def test_a_fixed_batch_that_does_not_fit() -> None:
    with pytest.raises(FastEPError, match="takes 2 samples at a time, found 3"):
        load_batches([{"input_ids": np.zeros((3, 1), int)}], [ModelInput("input_ids", INT64, (2, None))])


def test_harmless_differences_of_type_are_cast() -> None:
    arrays = {"input_ids": np.array([[1.0, 2.0]]), "pixels": np.zeros((1, 3, 2))}
    (batch,) = load_batches([arrays], [IDS, PIXELS]).batches
    assert batch["input_ids"].dtype == np.int64
    assert batch["pixels"].dtype == np.float32


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", "{", r"x\.jsonl:1: not JSON"),
        ("x.jsonl", '[1]\n{"a": 1}', r"x\.jsonl:2: expected a list of token ids"),
        ("x.jsonl", "[-1]", "expected a list of token ids"),
        ("x.jsonl", "[1.5]", "expected a list of token ids"),
        ("x.jsonl", "[99999999999999999999]", "expected a list of token ids"),
        ("x.jsonl", "\n\n", "holds no sample"),
        ("x.npz", "text", "not a readable .npz"),
        ("x.txt", "text", "needs a tokenizer"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(FastEPError, match=message):
        load_batches(tmp_path / name, [IDS])


def test_npz_files_that_are_none(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "whole.npz", input_ids=np.arange(999).reshape(3, -1))
    whole, file = (tmp_path / "whole.npz").read_bytes(), tmp_path / "x.npz"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for content in (whole[:-1], whole[: len(whole) // 2], whole[:9], bytes(flipped)):
        file.write_bytes(content)
        with pytest.raises(FastEPError, match=r"x\.npz: not a readable \.npz file"):
            load_batches(file, [IDS])
    with file.open("wb") as single:
        np.save(single, np.zeros((2, 2), int))
    with pytest.raises(FastEPError, match="one array without a name"):
        load_batches(file, [IDS])


def test_rows_of_unlike_lengths() -> None:
    with pytest.raises(FastEPError, match=r"data\[0\]: input_ids: expected an array, found rows of unlike lengths"):
        load_batches([{"input_ids": [[1, 2], [3]]}], [IDS])


def test_other_bad_sources(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match="no such file"):
        load_batches(tmp_path / "missing", [IDS])
    with pytest.raises(FastEPError, match=r"no \.npz file"):
        load_batches(tmp_path, [IDS])
    with pytest.raises(FastEPError, match="expected a mapping"):
        load_batches([[1]], [IDS])  # type: ignore[list-item]
    with pytest.raises(FastEPError, match="holds no sample"):
        load_batches([], [IDS])
    write_lines(tmp_path / "x.jsonl", [[1]])
    with pytest.raises(FastEPError, match="do not determine the model's input pixels"):
        load_batches(tmp_path / "x.jsonl", [IDS, PIXELS])
    (tmp_path / "latin.jsonl").write_bytes("é".encode("latin-1"))
    with pytest.raises(FastEPError, match="UTF-8"):
        load_batches(tmp_path / "latin.jsonl", [IDS])
    with pytest.raises(FastEPError, match="no such tokenizer"):
        load_batches(tmp_path / "x.jsonl", [IDS], tokenizer=tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FastEPError, match="not a tokenizer file"):
        load_batches(tmp_path / "x.jsonl", [IDS], tokenizer=tmp_path)
