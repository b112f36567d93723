"""Inputs made for a session."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyfastep.bench.inputs import make_inputs, vocabulary_size
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
        (["sequence_length", "batch_size", 8], (5, 5, 8)),
        ([None, None], (2, 5)),
        ([1, "s"], (1, 5)),
    ],
)
def test_axes(shape: list[Any], expected: tuple[int, ...]) -> None:
    assert make_inputs(session(x=("float", shape)), 2, 5, vocabulary=2)["x"].shape == expected


def test_bytes_cover_their_range_and_flags_are_set() -> None:
    made = make_inputs(session(x=("int8", [4, 500]), flag=("bool", [])), 1, 1, vocabulary=2)
    assert made["x"].min() < -100
    assert made["x"].max() > 100
    assert made["flag"].all()


def test_a_fixed_axis_that_contradicts() -> None:
    with pytest.raises(FastEPError, match="input_ids: axis 1 is fixed to 128, asked for length 64"):
        make_inputs(session(input_ids=("int64", ["b", 128])), 1, 64, vocabulary=9)


def test_an_unknown_type() -> None:
    with pytest.raises(FastEPError, match=r"text: .*tensor\(string\)"):
        make_inputs(session(text=("string", [1])), 1, 1, vocabulary=9)


def test_vocabulary(float_model: Path, tmp_path: Path) -> None:
    assert vocabulary_size(float_model) == 37
    assert vocabulary_size(tmp_path / "model.onnx") == 1000
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 77}))
    assert vocabulary_size(tmp_path / "model.onnx") == 77
    (tmp_path / "config.json").write_text("{}")
    assert vocabulary_size(tmp_path / "model.onnx") == 1000
