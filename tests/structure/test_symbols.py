"""What the linker sees: three exports of the library, one symbol per tier, nothing of a tier shared with others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

EXPORTS = {"CreateEpFactories", "ReleaseEpFactory", "RegisterCustomOps"}
TABLES = {
    "scalar": "fastep::ScalarKernels()",
    "avx2": "fastep::Avx2Kernels()",
    "avxvnni": "fastep::AvxVnniKernels()",
    "avx512vnni": "fastep::Avx512VnniKernels()",
    "amx": "fastep::AmxKernels()",
}
WEAK = set("uvVwW")


def defined_symbols(binary: Path, *options: str) -> list[tuple[str, str]]:
    """Kind (nm's letter) and demangled name of every symbol that others can link to."""
    command = ["nm", "--defined-only", "--extern-only", "--demangle", "--no-recurse-limit", *options, str(binary)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [(kind, name) for _, kind, name in (line.split(" ", 2) for line in lines)]


def built_tiers(repository: Path) -> list[str]:
    return [tier for tier in TABLES if list((repository / "ep/kernels" / tier).glob("*.cc"))]


@pytest.fixture(scope="module")
def tier_objects(repository: Path, request: pytest.FixtureRequest) -> dict[str, list[Path]]:
    """Object files of every tier, compiled in the build type that the test names."""
    build = repository / "build" / f"structure-{request.param.lower()}"
    cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
    assert cmake, "cmake is needed: run `make test`, which installs it"
    assert ninja, "ninja is needed: run `make test`, which installs it"
    options = [f"-DCMAKE_BUILD_TYPE={request.param}", f"-DCMAKE_MAKE_PROGRAM={ninja}", "-DFASTEP_BUILD_LIBRARY=OFF"]
    targets = [f"fastep_kernels_{tier}" for tier in built_tiers(repository)]
    for command in (
        ["-G", "Ninja", "-S", str(repository), "-B", str(build), *options],
        ["--build", str(build), "--target", *targets],
    ):
        done = subprocess.run([cmake, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    objects = {
        tier: sorted(build.glob(f"CMakeFiles/fastep_kernels_{tier}.dir/**/*.o")) for tier in built_tiers(repository)
    }
    assert all(objects.values()), f"no object files in {build}: {objects}"
    return objects


def test_library_exports_its_doors_alone(fastep_library: Path) -> None:
    exports = {name.split("@")[0] for _, name in defined_symbols(fastep_library, "--dynamic")}
    assert exports == EXPORTS, "ep/cmake/exports.map lists what is exported"


def test_library_needs_no_onnxruntime_and_no_cxx_runtime(fastep_library: Path) -> None:
    text = subprocess.run(
        ["readelf", "--dynamic", str(fastep_library)], check=True, capture_output=True, text=True
    ).stdout
    needed = [line.split("[")[1].rstrip("]") for line in text.splitlines() if "(NEEDED)" in line]
    allowed = ("libc.so", "libm.so", "ld-linux-x86-64.so", "libpthread.so")
    foreign = [name for name in needed if not name.startswith(allowed)]
    assert not foreign, f"only the C library may be needed at load: {foreign}"


@pytest.mark.parametrize("tier_objects", ["Release", "Debug"], indirect=True)
def test_a_tier_exports_one_symbol(tier_objects: dict[str, list[Path]]) -> None:
    """Only the kernel table can be linked to, beside the tier's own namespace fastep::<tier>, which may span its files.

    Nothing is weak: the linker keeps one copy of a weak symbol for everybody, maybe the one with AVX-512 instructions.
    """
    for tier, objects in tier_objects.items():
        symbols = [symbol for path in objects for symbol in defined_symbols(path)]
        weak = [name for kind, name in symbols if kind in WEAK]
        assert not weak, (
            f"tier {tier}: move these into an anonymous namespace, or make them templates on a type of one: {weak}"
        )
        shared = [name for _, name in symbols if not name.startswith(f"fastep::{tier}::")]
        assert shared == [TABLES[tier]], (
            f"tier {tier}: only its table may be visible, move the rest into namespace fastep::{tier}: {shared}"
        )
