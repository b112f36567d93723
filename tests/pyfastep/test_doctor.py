"""The doctor: what it finds here, and every problem it knows."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

import pyfastep
from pyfastep import _ep, doctor
from pyfastep.errors import FastEPError


def problems(diagnosis: doctor.Diagnosis) -> str:
    return "\n".join(f"{problem.problem} -> {problem.remedy}" for problem in diagnosis.problems)


def test_this_machine(fastep_library: Path, cpu_tiers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTEP_MAX_TIER", raising=False)
    monkeypatch.delenv("FASTEP_LOG", raising=False)
    found = doctor.diagnose()
    assert found.works
    assert found.runtime is not None
    assert found.runtime.version == onnxruntime.__version__
    assert found.library is not None
    assert Path(found.library.path).samefile(fastep_library)
    assert found.library.headers.startswith("1.")
    assert found.library.tier in found.library.tiers_supported
    assert set(found.library.tiers_supported) <= set(found.library.tiers_built)
    assert set(found.library.tiers_supported) <= {*cpu_tiers, "amx"}
    assert "QLinear" in found.library.ops
    assert found.cpu.model
    assert found.cpu.cores >= 1
    assert ("avx2" in found.cpu.instruction_sets) == ("avx2" in cpu_tiers)
    assert found.model is None


def test_a_model_node_by_node(fast_model: Path) -> None:
    found = doctor.diagnose(fast_model).model
    assert found is not None
    assert found.taken == len(found.nodes) >= 4
    for node in found.nodes:
        assert node.op.startswith("QLinear_")
        assert "kernel" in node.detail


@pytest.mark.parametrize("embed", [False, True])
def test_a_compiled_model(fast_model: Path, tmp_path: Path, embed: bool) -> None:
    """Its nodes are those of the source, and its plans say what they were compiled for."""
    target = tmp_path / "c.onnx"
    plans = pyfastep.compile_model(fast_model, target, embed=embed, max_tier="scalar")
    found, source = doctor.diagnose(target), doctor.diagnose(fast_model)
    assert found.model is not None
    assert source.model is not None
    assert list(found.model.plans) == plans
    assert {node.name for node in found.model.nodes} == {node.name for node in source.model.nodes}
    assert found.model.taken == len(found.model.nodes)
    assert all("compiled before for tier scalar" in node.detail for node in found.model.nodes)
    assert not source.model.plans


def test_a_node_that_is_left_has_its_reason(half_model: Path) -> None:
    found = doctor.diagnose(half_model)
    assert found.model is not None
    left = [node for node in found.model.nodes if not node.taken]
    assert [node.op for node in left] == ["QLinear_of_tomorrow"]
    assert "update FastEP" in left[0].detail
    assert found.works
    assert f"1 of {len(found.model.nodes)} fastep nodes" in problems(found)


def test_a_model_with_nothing_to_do(float_model: Path) -> None:
    found = doctor.diagnose(float_model)
    assert found.works
    assert "no fastep nodes" in problems(found)
    assert "fastep convert" in problems(found)


def test_models_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FastEPError, match="no such model file"):
        doctor.diagnose(tmp_path / "missing.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 99)
    with pytest.raises(FastEPError, match=r"broken\.onnx: not a readable ONNX model"):
        doctor.diagnose(tmp_path / "broken.onnx")


def test_an_unsuitable_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.20.0")
    found = doctor.diagnose()
    assert not found.works
    assert found.library is None
    assert "1.20.0 is installed -> pip install" in problems(found)


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_ep, "_package_folders", lambda: [tmp_path])
    found = doctor.diagnose()
    assert not found.works
    assert "libfastep.so" in problems(found)


def test_a_library_that_onnx_runtime_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise FastEPError("cannot load it: unknown tier 'bogus'", remedy=_ep.ASK_DOCTOR)

    monkeypatch.setattr(_ep, "register", refuse)
    found = doctor.diagnose()
    assert not found.works
    assert "unknown tier 'bogus' -> see above" in problems(found), "the doctor does not send to itself"


def test_two_packages_that_bring_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ep, "runtime_distributions", lambda: ("onnxruntime", "onnxruntime-gpu"))
    found = doctor.diagnose()
    assert "overwrite each other: onnxruntime, onnxruntime-gpu" in problems(found)


def test_a_wrong_log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTEP_LOG", "loud")
    found = doctor.diagnose()
    assert not found.works
    assert "FASTEP_LOG=loud is no level -> set one of error, warning, info, debug" in problems(found)


def library(**values: object) -> doctor.Library:
    usual = {
        "path": "x",
        "version": "1",
        "tier": "avx2",
        "tiers_built": ("scalar", "avx2"),
        "tiers_supported": ("scalar", "avx2"),
        "ops": (),
        "headers": "1.23",
    }
    return doctor.Library(**{**usual, **values})  # type: ignore[arg-type]


def look(found: doctor.Library, version: str = "1", **environment: str) -> str:
    cpu = doctor.Cpu("cpu", 1, 1, ())
    diagnosis = doctor.Diagnosis(version, "3", cpu, environment)
    doctor._look_at_tiers(found, diagnosis)
    assert diagnosis.works  # notes, not errors
    return problems(diagnosis)


def test_tiers_and_versions() -> None:
    assert look(library()) == ""
    assert "although avx2 is there" in look(library(tier="scalar"), FASTEP_MAX_TIER="scalar")
    assert look(library(), FASTEP_MAX_TIER="amx") == ""
    assert "neither AVX2" in look(library(tier="scalar", tiers_supported=("scalar",)))
    assert "of version 1, the Python package of 2" in look(library(), version="2")
    assert look(library(), version=pyfastep.UNINSTALLED) == ""
