"""Inputs made for a session."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyfastep.bench.inputs import fixed_batch, make_inputs, vocabulary_size
from pyfastep.errors import FastEPError


def session(**inputs: tuple[str, list[Any]]) -> Any:
    infos = [SimpleNamespace(name=name, type=f"tensor({kind})", shape=shape) for name, (kind, shape) in inputs.items()]
    return SimpleNamespace(get_inputs=lambda: infos)


def test_a_transformers_inputs() -> None:
    asked = session(
        input_ids=("int64", ["batch", "seq"]),
        attention_mask=("int64", ["batch", "seq"]),
        token_type_ids=("int32", ["batch", "seq"]),
        position_ids=("int64", ["batch", "seq"]),
    )
    made = make_inputs(asked, 3, 5, vocabulary=7, seed=1)
    assert all(value.shape == (3, 5) for value in made.values())
    assert 0 <= made["input_ids"].min() <= made["input_ids"].max() < 7
    assert len(np.unique(made["input_ids"])) > 2
    assert (made["attention_mask"] == 1).all()
    assert (made["token_type_ids"] == 0).all()
    assert made["token_type_ids"].dtype == np.int32
    assert (made["position_ids"] == np.arange(5)).all()


def test_values_depend_on_seed_and_name_alone() -> None:
    one = make_inputs(session(x=("float", [None, 4]), input_ids=("int64", ["b", "s"])), 2, 3, vocabulary=50)
    other = make_inputs(session(input_ids=("int64", [2, "s"])), 2, 3, vocabulary=50)
    np.testing.assert_array_equal(one["input_ids"], other["input_ids"])
    again = make_inputs(session(input_ids=("int64", ["b", "s"])), 2, 3, vocabulary=50, seed=1)
    assert (again["input_ids"] != one["input_ids"]).any()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (["batch_size", "sequence_length", 8], (2, 5, 8)),
        (["sequence_length", "batch_size", 8], (5, 2, 8)),
        (["batch_size * sequence_length", 8], (5, 8)),
        ([None, None], (2, 5)),
        ([2, "s"], (2, 5)),
        ([], ()),
    ],
)
def test_axes(shape: list[Any], expected: tuple[int, ...]) -> None:
    assert make_inputs(session(x=("float", shape)), 2, 5, vocabulary=2)["x"].shape == expected


def test_bytes_cover_their_range_and_flags_are_set() -> None:
    made = make_inputs(session(x=("int8", [4, 500]), flag=("bool", [])), 4, 1, vocabulary=2)
    assert made["x"].min() < -100
    assert made["x"].max() > 100
    assert made["flag"].all()


def test_a_fixed_axis_that_contradicts() -> None:
    with pytest.raises(FastEPError, match="input_ids: axis 1 is fixed to 128, asked for 64"):
        make_inputs(session(input_ids=("int64", ["b", 128])), 1, 64, vocabulary=9)


def test_a_batch_that_no_input_takes() -> None:
    """It would be measured as something that it is not."""
    fixed = session(x=("float", [4, 16]), flag=("bool", []))
    assert fixed_batch(fixed) == 4
    assert make_inputs(fixed, 4, 1, vocabulary=2)["x"].shape == (4, 16)
    with pytest.raises(FastEPError, match=r"x: the batch is fixed to 4, asked for 64 \(ask for 4\)"):
        make_inputs(fixed, 64, 1, vocabulary=2)
    mixed = session(bias=("float", [1, 1, "s", "s"]), input_ids=("int64", ["b", "s"]))
    assert fixed_batch(mixed) is None
    assert make_inputs(mixed, 3, 5, vocabulary=2)["bias"].shape == (1, 1, 5, 5)


@pytest.mark.parametrize(("batch", "length"), [(10**13, 10**5), (1, 2**63), (2**40, 2**40)])
def test_more_than_there_is_memory_for(batch: int, length: int) -> None:
    with pytest.raises(FastEPError, match=r"input_ids: no array of shape \["):
        make_inputs(session(input_ids=("int64", ["b", "s"])), batch, length, vocabulary=9)


def test_an_unknown_type() -> None:
    with pytest.raises(FastEPError, match=r"text: .*tensor\(string\)"):
        make_inputs(session(text=("string", [1])), 1, 1, vocabulary=9)


def test_vocabulary(float_model: Path, tmp_path: Path) -> None:
    assert vocabulary_size(float_model) == 37
    assert vocabulary_size(tmp_path / "model.onnx") == 1000
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 77}))
    assert vocabulary_size(tmp_path / "model.onnx") == 77
    assert vocabulary_size(float_model, tmp_path / "model.onnx") == 37
    (tmp_path / "config.json").write_text("{}")
    assert vocabulary_size(tmp_path / "model.onnx") == 1000
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 77777}))
    assert vocabulary_size(tmp_path / "model.onnx", tmp_path / "nowhere" / "model.onnx") == 77777
