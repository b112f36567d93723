"""Every test that asks for `tier` runs once on every tier that this CPU can run."""

from __future__ import annotations

from pathlib import Path

import pytest

from .capi import TIERS, Capi


@pytest.fixture(scope="session")
def capi(fastep_capi: Path) -> Capi:
    """The C ABI, loaded."""
    return Capi(fastep_capi)


@pytest.fixture(scope="session", params=[tier for tier in TIERS if tier != "amx"])
def tier(request: pytest.FixtureRequest, capi: Capi, cpu_tiers: list[str]) -> str:
    """A tier; skipped, and listed at the end of the run, where the CPU lacks it."""
    name = str(request.param)
    if name not in cpu_tiers:
        pytest.skip(f"this CPU does not run the tier {name}")
    assert name in capi.supported_tiers(), f"the CPU runs {name}, the library does not"
    return name
