"""What is shipped: one wheel for every Python, with the passes and the library, without what only tests need."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(repository: Path) -> Path:
    wheels = list((repository / "build/wheel").glob("*.whl"))
    if len(wheels) != 1:
        pytest.fail(f"expected one wheel in build/wheel, found {len(wheels)}. Run `make wheel` (make test does).")
    return wheels[0]


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_one_wheel_serves_every_python(repository: Path, wheel: Path) -> None:
    version = re.search(r'^version = "([^"]+)"', (repository / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert wheel.name == f"pyfastep-{version[1]}-py3-none-linux_x86_64.whl"


def test_the_library_is_the_only_binary(contents: set[str]) -> None:
    assert {name for name in contents if re.search(r"\.(so|a|o|dylib)\b", name)} == {"pyfastep/libfastep.so"}


def test_every_python_source_is_in_it(repository: Path, sources: list[Path], contents: set[str]) -> None:
    """passes/ becomes pyfastep/passes, and the marker py.typed makes the types public."""
    expected = {str(path) for path in sources if path.parts[0] == "pyfastep"}
    expected |= {f"pyfastep/{path}" for path in sources if path.parts[0] == "passes"}
    assert {"pyfastep/__init__.py", "pyfastep/passes/__init__.py", "pyfastep/py.typed"} <= expected
    missing = expected - contents
    assert not missing, f"not in the wheel: {sorted(missing)}"


def test_nothing_else_is_in_it(contents: set[str]) -> None:
    foreign = {name for name in contents if not name.startswith(("pyfastep/", "pyfastep-"))}
    assert not foreign, f"only pyfastep/ belongs in the wheel: {sorted(foreign)}"
    assert not {name for name in contents if "__pycache__" in name}
