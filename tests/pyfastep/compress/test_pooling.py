"""Checkpoints of sentence-transformers, as it writes them since 2.0 and since 5.6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from pyfastep.compress.pooling import copy_modules, read_pooling
from pyfastep.errors import FastEPError

OLD = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")


def save(folder: Path, config: Any, kinds: tuple[str, ...] = ("Transformer", "Pooling", "Normalize")) -> None:
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dense": "3_Dense"}
    rows = [
        {"idx": n, "name": str(n), "path": places[kind], "type": f"sentence_transformers.models.{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def old(*modes: str) -> dict[str, Any]:
    return {"word_embedding_dimension": 16, **{f"pooling_mode_{name}": name in modes for name in OLD}}


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        (old("mean_tokens"), "mean"),
        (old("cls_token"), "cls"),
        (old(), "mean"),
        ({"embedding_dimension": 16, "pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"embedding_dimension": 16, "pooling_mode": ["mean"]}, "mean"),
    ],
)
def test_mean_and_first_token(config: dict[str, Any], pooling: str, tmp_path: Path) -> None:
    assert read_pooling(str(tmp_path)) == read_pooling("tiny") == "mean"
    save(tmp_path, config)
    assert read_pooling(str(tmp_path)) == pooling


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (old("max_tokens"), r"1_Pooling/config.json: expected a pooling by mean or cls, found max \(take modules.json"),
        (old("cls_token", "mean_sqrt_len_tokens"), "found cls, mean_sqrt_len"),
        ({"pooling_mode": "lasttoken"}, "found lasttoken"),
        ({"pooling_mode": ["cls", "mean"]}, "found cls, mean"),
        ("[]", "modules.json: not as sentence-transformers writes it"),
        ("{", "1_Pooling/config.json: not readable as JSON"),
    ],
)
def test_other_poolings(config: Any, message: str, tmp_path: Path) -> None:
    save(tmp_path, config)
    with pytest.raises(FastEPError, match=message):
        read_pooling(str(tmp_path))


def test_modules_that_are_no_pooling(tmp_path: Path) -> None:
    save(tmp_path, old("cls_token"), ("Transformer", "Pooling", "Dense", "Normalize"))
    with pytest.raises(FastEPError, match=r"expected .*, found Transformer, Pooling, Dense, Normalize"):
        read_pooling(str(tmp_path))
    (tmp_path / "1_Pooling" / "config.json").unlink()
    save_modules = json.loads((tmp_path / "modules.json").read_text())[:2]
    (tmp_path / "modules.json").write_text(json.dumps(save_modules))
    with pytest.raises(FastEPError, match=r"modules.json: not as sentence-transformers writes it"):
        read_pooling(str(tmp_path))


def test_a_compressed_model_gets_what_its_checkpoint_had(tmp_path: Path) -> None:
    source, plain, target = (tmp_path / name for name in ("source", "plain", "target"))
    for folder in (source, plain, target):
        folder.mkdir()
    copy_modules(str(plain), target)
    copy_modules("tiny", target)
    assert list(target.iterdir()) == []
    save(source, old("cls_token"))
    (source / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    (source / "model.safetensors").write_text("weights")
    copy_modules(str(source), target)
    names = ["1_Pooling/config.json", "modules.json", "sentence_bert_config.json"]
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*.json")) == names
    assert not (target / "model.safetensors").exists()
    assert read_pooling(str(target)) == "cls"
