"""`fastep doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from pyfastep.cli import main
from pyfastep.doctor import read_cpu
from pyfastep.passes.prove_padding import METADATA_KEY

pytestmark = pytest.mark.usefixtures("fastep_library")


def test_it_prints_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for part in (read_cpu().model, "ONNX Runtime", "libfastep.so", "tier chosen", "compiled for"):
        assert part in text


def test_it_prints_every_node_of_a_model(half_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(half_model)]) == 0
    text = capsys.readouterr().out
    assert "FastEP runs" in text
    assert "remedy" in text


def test_it_prints_what_the_model_says_about_padding(
    fast_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(fast_model)
    model.metadata_props.add(key=METADATA_KEY, value="skipped (proven: first token)")
    onnx.save(model, tmp_path / "marked.onnx")
    assert main(["doctor", str(tmp_path / "marked.onnx")]) == 0
    assert "\npadding: skipped (proven: first token)\n" in capsys.readouterr().out


def test_json(fast_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(fast_model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(node["taken"] for node in found["model"]["nodes"])
    assert found["library"]["tier"] in found["library"]["tiers_supported"]


def test_exit_code_1_when_it_cannot_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FASTEP_LOG", "loud")
    assert main(["doctor"]) == 1
    assert "remedy: set one of" in capsys.readouterr().out
