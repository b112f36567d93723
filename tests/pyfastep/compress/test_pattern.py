"""How patterns are written."""

from __future__ import annotations

import pytest

from pyfastep.compress.pattern import Pattern, parse_pattern
from pyfastep.errors import FastEPError


@pytest.mark.parametrize("text", ["4x1", "16x32", "2:4", "1:8", "unstructured"])
def test_reads_what_it_writes(text: str) -> None:
    assert str(parse_pattern(text)) == text


def test_target() -> None:
    assert parse_pattern("2:4").target(0.9) == 0.5
    assert Pattern((4, 1)).target(0.9) == 0.9


@pytest.mark.parametrize("text", ["", "4x", "0x1", "4:2", "2:2", "0:4", "dense", "4x1x1", "-4x1"])
def test_refuses(text: str) -> None:
    with pytest.raises(FastEPError, match="expected RxC, N:M with N < M, or unstructured, found"):
        parse_pattern(text)
