"""The one direction of dependence: cli -> pyfastep -> passes, and api -> ops -> core -> kernels."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# What passes/ may import beside the standard library and itself.
PASSES_MAY_IMPORT = {"numpy", "onnx", "onnx_ir"}
# Heavy libraries, and the only folders of pyfastep that may import them.
TRAINING = {"torch", "transformers", "optimum", "accelerate", "datasets", "sentence_transformers"}
MAY_TRAIN = {"compress", "demo"}
# Parts of pyfastep that only the named parts may import.
IMPORTED_ONLY_BY = {"cli": {"cli"}, "demo": {"cli", "demo"}, "compress": {"cli", "demo", "compress"}}

# Folder of ep/ -> prefixes that its files may include in quotes.
MAY_INCLUDE = {
    "api": ("api/", "ops/", "core/"),
    "ops": ("ops/", "core/"),
    "core": ("core/", "kernels/generic/"),
    "capi": ("capi/", "core/"),
    "bench": ("bench/", "core/"),
    "fuzz": ("fuzz/", "core/"),
    "emulation": (),
}
MAY_INCLUDE_ORT = {"api", "ops"}


def package_of(path: Path) -> list[str]:
    """passes/ops/x.py -> pyfastep, passes, ops: passes/ is pyfastep.passes."""
    folders = list(path.parent.parts)
    return folders if folders[0] == "pyfastep" else ["pyfastep", *folders]


def imports(repository: Path, path: Path) -> Iterator[tuple[str, str]]:
    """Place and full name of everything that a Python file imports, nested imports included."""
    for node in ast.walk(ast.parse((repository / path).read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((f"{path}:{node.lineno}", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = package_of(path)
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{path}:{node.lineno}", f"{module}.{alias.name}") for alias in node.names)


def python_files(sources: list[Path], top: str) -> list[Path]:
    return [path for path in sources if path.parts[0] == top and path.suffix == ".py"]


def part_of(module: str) -> str:
    """pyfastep.cli.convert -> cli"""
    return [*module.split("."), ""][1]


def test_passes_are_reached_through_pyfastep(repository: Path, sources: list[Path]) -> None:
    wrong = [
        f"{place} imports {name}"
        for top in ("passes", "pyfastep", "tests")
        for path in python_files(sources, top)
        for place, name in imports(repository, path)
        if name.split(".")[0] == "passes"
    ]
    assert not wrong, f"import pyfastep.passes: `import passes` works by accident of the working folder: {wrong}"


def test_passes_need_no_runtime(repository: Path, sources: list[Path]) -> None:
    allowed = PASSES_MAY_IMPORT | set(sys.stdlib_module_names)
    wrong = [
        f"{place} imports {name}"
        for path in python_files(sources, "passes")
        for place, name in imports(repository, path)
        if name.split(".")[0] not in allowed and not name.startswith("pyfastep.passes.")
    ]
    assert not wrong, (
        f"passes/ may import {sorted(PASSES_MAY_IMPORT)} and itself, the rest belongs in pyfastep/: {wrong}"
    )


def test_training_libraries_stay_in_their_folders(repository: Path, sources: list[Path]) -> None:
    wrong = [
        f"{place} imports {name}"
        for path in python_files(sources, "pyfastep")
        if path.parts[1] not in MAY_TRAIN
        for place, name in imports(repository, path)
        if name.split(".")[0] in TRAINING
    ]
    assert not wrong, f"only pyfastep/{sorted(MAY_TRAIN)} may import {sorted(TRAINING)}: {wrong}"


def test_upper_parts_are_not_imported_from_below(repository: Path, sources: list[Path]) -> None:
    wrong = []
    for path in python_files(sources, "pyfastep"):
        own = path.parts[1].removesuffix(".py")
        for place, name in imports(repository, path):
            part = part_of(name) if name.startswith("pyfastep.") else ""
            if part in IMPORTED_ONLY_BY and own not in {*IMPORTED_ONLY_BY[part], "__main__"}:
                wrong.append(f"{place} imports {name}")
    assert not wrong, f"the arrow points down, {IMPORTED_ONLY_BY} (part: imported only by): {wrong}"


def includes(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(["<][^">]+[">])', line)
        if match:
            yield number, match[1]


def cpp_files(repository: Path, sources: list[Path], folder: str) -> list[Path]:
    top = Path("ep") / folder
    return [repository / path for path in sources if path.is_relative_to(top) and path.suffix in {".cc", ".h", ".inl"}]


@pytest.mark.parametrize("folder", MAY_INCLUDE)
def test_native_folders_include_downwards(repository: Path, sources: list[Path], folder: str) -> None:
    wrong = [
        f"{path.relative_to(repository)}:{line} includes {name}"
        for path in cpp_files(repository, sources, folder)
        for line, name in includes(path)
        if name.startswith('"') and not name[1:].startswith(MAY_INCLUDE[folder])
    ]
    assert not wrong, f"ep/{folder} may include {MAY_INCLUDE[folder]} (paths start at ep/): {wrong}"


def test_onnxruntime_ends_at_api_and_ops(repository: Path, sources: list[Path]) -> None:
    wrong = [
        f"{path.relative_to(repository)}:{line} includes {name}"
        for path in cpp_files(repository, sources, ".")
        if path.relative_to(repository).parts[1] not in MAY_INCLUDE_ORT
        for line, name in includes(path)
        if "onnxruntime" in name
    ]
    assert not wrong, f"ONNX Runtime headers belong to ep/api and ep/ops alone: {wrong}"


def test_kernels_are_freestanding(repository: Path, sources: list[Path]) -> None:
    """A tier file includes the kernel table, shared kernel code, its own folder and C headers.

    No C++ standard header: its inline functions would carry the tier's instructions and be shared with everybody.
    """
    wrong = []
    for path in cpp_files(repository, sources, "kernels"):
        tier = path.relative_to(repository).parts[2]
        own = ('"core/kernel_table.h"', '"kernels/generic/', f'"kernels/{tier}/')
        wrong += [
            f"{path.relative_to(repository)}:{line} includes {name}"
            for line, name in includes(path)
            if not name.startswith(own) and not re.fullmatch(r"<[a-z0-9_]+\.h>", name)
        ]
    assert not wrong, (
        f"kernels may include core/kernel_table.h, kernels/generic, their own folder and C headers: {wrong}"
    )


def test_shared_kernel_code_is_headers_only(repository: Path) -> None:
    files = sorted(path.name for path in (repository / "ep/kernels/generic").glob("*.cc"))
    assert not files, f"ep/kernels/generic is compiled into each tier with its flags, so it holds headers only: {files}"
