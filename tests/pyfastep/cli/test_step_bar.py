"""A log has one line a step."""

from __future__ import annotations

import pytest

from pyfastep.cli.step_bar import step_bar


def test_a_step_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    with step_bar() as show:
        show("prune", 0.0, "layer [1] of 2")
        show("prune", 0.5, "layer [2] of 2")
        show("export", 0.0, "optimum")
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines == ["prune: layer [1] of 2", "export: optimum"]
