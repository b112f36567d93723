"""A study two of whose three cells are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .fakes import STUDY, fake_compress


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """All but the cell `late`."""
    pytest.importorskip("torch")
    from pyfastep.compress.study import runner

    monkeypatch.setattr(runner, "compress", fake_compress)
    return runner.run_study(STUDY, tmp_path, only=["4x*"])
