"""Detection and choice of the instruction tier (ep/core/tier.cc)."""

from __future__ import annotations

import pytest

from .capi import TIERS, Capi, CoreError


def test_some_tier_is_tested(capi: Capi, cpu_tiers: list[str]) -> None:
    assert cpu_tiers, "no tier can be tested on this machine"
    assert "scalar" in capi.supported_tiers()


def test_library_and_proc_cpuinfo_agree(capi: Capi, cpu_tiers: list[str]) -> None:
    assert capi.supported_tiers() == [tier for tier in capi.built_tiers() if tier in cpu_tiers]


def test_the_best_supported_tier_is_chosen(capi: Capi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTEP_MAX_TIER", raising=False)
    assert capi.choose_tier() == capi.supported_tiers()[-1]


@pytest.mark.parametrize("limit", TIERS)
def test_limits_only_lower(capi: Capi, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTEP_MAX_TIER", raising=False)
    allowed = TIERS[: TIERS.index(limit) + 1]
    expected = [tier for tier in capi.supported_tiers() if tier in allowed][-1]
    assert capi.choose_tier(limit) == expected
    monkeypatch.setenv("FASTEP_MAX_TIER", limit)
    assert capi.choose_tier() == expected
    assert capi.choose_tier("amx") == expected, "the option raised what the environment had lowered"
    assert capi.choose_tier("scalar") == "scalar"


def test_empty_environment_variable_is_no_limit(capi: Capi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTEP_MAX_TIER", "")
    assert capi.choose_tier() == capi.supported_tiers()[-1]


@pytest.mark.parametrize("name", ["avx3", "AVX2", "avx2 ", "avx512"])
def test_unknown_tier_lists_the_known_ones(capi: Capi, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTEP_MAX_TIER", raising=False)
    with pytest.raises(CoreError, match="scalar, avx2, avxvnni, avx512vnni, amx") as error:
        capi.choose_tier(name)
    assert f"'{name}'" in str(error.value)
    monkeypatch.setenv("FASTEP_MAX_TIER", name)
    with pytest.raises(CoreError, match="FASTEP_MAX_TIER"):
        capi.choose_tier("scalar")
