"""A log has a line where a step begins, and one for each tenth of it."""

from __future__ import annotations

import pytest

from pyfastep.cli.step_bar import step_bar


def test_lines_of_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with step_bar() as show:
        for layer in range(1, 41):
            show("prune", (layer - 1) / 40, f"layer [{layer}] of 40")
        show("export", 0.0, "optimum")
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines == [*(f"prune: layer [{layer}] of 40" for layer in range(1, 41, 4)), "export: optimum"]
