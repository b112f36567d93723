"""Consoles, quiet libraries and errors of the demo's commands."""

from __future__ import annotations

import os
import warnings

import pytest

from pyfastep.demo import command
from pyfastep.errors import FastEPError


def test_a_log_has_a_fixed_width() -> None:
    assert command.open_console(97).width == 97  # the tests' output is no terminal


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.setattr(warnings, "simplefilter", lambda action: None)
    command.be_quiet_and_offline()
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_an_error_of_ours_is_one_line() -> None:
    def fail() -> None:
        raise FastEPError("broken", remedy="mend it")

    with pytest.raises(SystemExit, match="error: broken") as caught:
        command.run_app(fail)
    assert "\n" not in str(caught.value)
    with pytest.raises(ZeroDivisionError):
        command.run_app(lambda: 1 // 0)  # type: ignore[arg-type]
