"""What no file of the project may say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

BINARY = {".png", ".onnx", ".npz", ".jpg"}
FORBIDDEN = {
    # One wheel serves every x86-64 CPU; flags of one machine would end in an illegal instruction on another.
    "flags of the building machine": (
        re.compile(r"-m(arch|tune|cpu)=native\b"),
        "name the instruction sets in fastep_add_tier",
    ),
    "paths of one machine": (
        re.compile(r"/(work|tmp|root|home/\w+)/"),
        "use a relative path, tempfile or pytest's tmp_path",
    ),
    "registry hosts": (
        re.compile(r"\b(pypi|pythonhosted|debian|ubuntu|npmjs|anaconda)\.(org|com)\b", re.IGNORECASE),
        "let pip and apt use what the machine is configured with",
    ),
    "unfinished work": (
        re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b"),
        "finish it, or say in plain words what is missing and why",
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(repository: Path, sources: list[Path], what: str) -> None:
    pattern, remedy = FORBIDDEN[what]
    found = [
        f"{path}:{number}: {match[0]}"
        for path in sources
        if path.suffix not in BINARY
        for number, line in enumerate((repository / path).read_text().splitlines(), 1)
        for match in [pattern.search(line)]
        if match
    ]
    assert not found, f"{what}: {remedy}: {found}"


def test_machine_flags_stand_in_one_place(repository: Path, sources: list[Path]) -> None:
    """A -m flag outside fastep_add_tier() leaks a tier's instructions into code that every CPU runs."""
    builds = [
        path
        for path in sources
        if path.suffix == ".cmake" or path.name in {"CMakeLists.txt", "Makefile", "pyproject.toml"}
    ]
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in builds
        for number, line in enumerate((repository / path).read_text().splitlines(), 1)
        if re.search(r"(^|\s)-m(avx|sse|amx|fma|bmi|f16c|arch|tune)", line) and not line.startswith("fastep_add_tier(")
    ]
    assert not found, f"move the flags to fastep_add_tier(): {found}"
