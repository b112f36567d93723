"""The line that tells where figures come from."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

import pyfastep
from pyfastep.bench.machine import describe_machine
from pyfastep.doctor import read_cpu


def test_it_names_cpu_and_versions(fastep_library: Path) -> None:
    line = describe_machine()
    for part in (read_cpu().model, onnxruntime.__version__, pyfastep.__version__):
        assert part in line
    assert "\n" not in line


def test_it_does_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pyfastep.FastEPError("no library")

    monkeypatch.setattr(pyfastep._ep, "register", fail)
    assert "(no library)" in describe_machine()
