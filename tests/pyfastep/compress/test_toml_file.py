"""TOML files and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyfastep.compress.toml_file import read_toml, toml_value
from pyfastep.errors import FastEPError


def test_tables_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[a]\nb = [1, 2]\nname = "größer"\n', encoding="utf-8")
    assert read_toml(path) == {"a": {"b": [1, 2], "name": "größer"}}


@pytest.mark.parametrize("content", [b"a = ", b"[a", b"a = \xff"])
def test_what_is_no_toml_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(FastEPError, match=r"a\.toml: not a TOML file: "):
        read_toml(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), (" 1e-3 ", 0.001), ("true", True), ("[1, 2]", [1, 2]), ('"3"', "3"), ("4x1 ", "4x1"), ("", "")],
)
def test_values(text: str, value: Any) -> None:
    found = toml_value(text)
    assert (found, type(found)) == (value, type(value))
