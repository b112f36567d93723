"""Fixtures that every test folder shares, and the closing list of what this machine could not cover."""

from __future__ import annotations

import importlib.util
import os
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What a tier needs of the CPU, as /proc/cpuinfo spells it. Read independently of ep/core/tier.cc, which is under test.
TIER_FLAGS: dict[str, frozenset[str]] = {
    "scalar": frozenset(),
    "avx2": frozenset({"avx2", "fma"}),
    "avxvnni": frozenset({"avx2", "fma", "avx_vnni"}),
    "avx512vnni": frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}),
}


_MISSING = "could not import"  # what importorskip says


def emulated() -> bool:
    """Whether what is tested has the kernels of every tier in AVX2 instructions (`make test-emulated`)."""
    return bool(os.environ.get("FASTEP_EMULATED"))


def tiers_of_this_cpu() -> list[str]:
    """The tiers that this CPU can run, worst first, whether or not they were built."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())
    return [tier for tier, needed in TIER_FLAGS.items() if needed <= flags]


def tiers_under_test() -> list[str]:
    """Those of the CPU; all of them where they are emulated, which takes AVX2."""
    runs = tiers_of_this_cpu()
    return list(TIER_FLAGS) if emulated() and "avx2" in runs else runs


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def cpu_tiers() -> list[str]:
    """The tiers that can be tested here, worst first."""
    return tiers_under_test()


@pytest.fixture(scope="session")
def fastep_library() -> Path:
    """The installed libfastep.so."""
    if importlib.util.find_spec("pyfastep") is None:
        pytest.fail("pyfastep is not installed. Run `make test`, or `pip install .` first.")
    library = resources.files("pyfastep") / "libfastep.so"
    if not library.is_file():
        pytest.fail(f"{library} does not exist: these are the sources. Run `make test`, or `pip install -e .` first.")
    return Path(str(library))


@pytest.fixture(scope="session")
def fastep_capi() -> Path:
    """libfastep_capi.so, the flat C ABI of the kernels and of core, never installed; FASTEP_CAPI names another one."""
    capi = Path(os.environ.get("FASTEP_CAPI", ROOT / "build" / "test" / "libfastep_capi.so"))
    if not capi.is_file():
        pytest.fail(
            f"{capi} does not exist. Run `make test`, or build it with -DFASTEP_BUILD_TESTS=ON and set FASTEP_CAPI."
        )
    return capi


def _without_packages(config: pytest.Config) -> list[str]:
    """Where tests were left out because a package is missing, which `make test` has all of."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("FASTEP_ALL_PACKAGES"):
        return []
    return sorted(
        {str(entry.longrepr) for entry in reporter.stats.get("skipped", []) if _MISSING in str(entry.longrepr)}
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A green run in which whole folders of tests were left out would say nothing."""
    if session.exitstatus == pytest.ExitCode.OK and _without_packages(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints what was not covered: a green run says nothing about tiers and tests that did not run."""
    for entry in _without_packages(config):
        terminalreporter.write_line(f"FAILED, as all packages should be here: {entry}", red=True, bold=True)
    missing = [tier for tier in TIER_FLAGS if tier not in tiers_under_test()]
    skipped = len(terminalreporter.stats.get("skipped", []))
    if emulated():
        terminalreporter.write_line("tiers above avx2 ran as AVX2 instructions (ep/emulation)", yellow=True)
    if not missing and not skipped:
        return
    terminalreporter.section("NOT COVERED by this run", sep="!", yellow=True, bold=True)
    if missing:
        terminalreporter.write_line(f"tiers that this CPU cannot run: {', '.join(missing)}", yellow=True, bold=True)
    if skipped:
        terminalreporter.write_line(f"tests skipped: {skipped} (the reasons stand above)", yellow=True, bold=True)
