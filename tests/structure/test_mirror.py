"""tests/ mirrors the tree: who looks for the tests of a file finds them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

# Files that hold no behaviour of their own, with the reason.
NEEDS_NO_TEST = {
    "__init__.py": "names only",
    "__main__.py": "calls main()",
    "registry.py": "a list",
}


def mirrored(path: Path) -> list[Path]:
    """The places where the tests of a file may stand, best first.

    a/b/name.py has tests/a/b/test_name*.py, or shares tests/a/test_b*.py with its folder; one op's schema, reference
    and function body (passes/ops) and its native side (ep/ops) share tests/ops.
    """
    folder, name = path.parent, path.stem
    places = [folder / f"test_{name}*.py", folder / f"test_*_{name}.py"]
    if len(folder.parts) > 1:
        places += [folder.parent / f"test_{folder.name}*.py", folder.parent / f"test_{name}*.py"]
    if folder == Path("passes/ops"):
        places.append(Path("ops") / f"test_{name}*.py")
    return places


@pytest.mark.parametrize("top", ["passes", "pyfastep"])
def test_every_module_has_tests(repository: Path, sources: list[Path], top: str) -> None:
    modules = [
        path for path in sources if path.parts[0] == top and path.suffix == ".py" and path.name not in NEEDS_NO_TEST
    ]
    assert modules
    missing = [
        f"{path} (expected tests/{mirrored(path)[0]})"
        for path in modules
        if not any(list((repository / "tests").glob(str(place))) for place in mirrored(path))
    ]
    assert not missing, f"write tests for: {missing}"


def test_every_native_op_has_tests(repository: Path) -> None:
    """An op is a file of ep/ops with a Python counterpart in passes/ops; its tests run both."""
    ops = {path.stem for path in (repository / "ep/ops").glob("*.cc")} & {
        path.stem for path in (repository / "passes/ops").glob("*.py")
    }
    ops.discard("registry")  # the list of ops on both sides
    assert ops, "ep/ops and passes/ops have no file in common: an op is spelled the same on both sides"
    missing = [op for op in sorted(ops) if not list((repository / "tests/ops").glob(f"test_{op}*.py"))]
    assert not missing, f"write tests/ops/test_<op>.py for: {missing}"


def test_kernel_tests_know_no_tier(repository: Path) -> None:
    """A new tier needs no new test: kernel tests run on every tier that the machine has."""
    tiers = ["avx2", "avxvnni", "avx512vnni", "amx"]
    tests = list((repository / "tests/kernels").glob("test_*.py"))
    assert tests, "tests/kernels has no tests"
    named = [path.name for path in tests if any(tier in path.name for tier in tiers)]
    assert not named, f"run these on every tier of the machine: {named}"
