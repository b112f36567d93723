"""Whole converted encoders, 1 <= batch <= 64, 1 <= length <= 512, every kind of mask, on every tier: bit for bit.

The oracle is the numpy reference of every op, node by node, on sequences taken out of the batch: so the batch, the
threads, the tier and the padding around a sequence change no bit of it. With `skip_padding` what follows the last
visible token of a row, but for its first token, is 0, and all else as before.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .batches import MASKS, ODD_BATCHES, ODD_LENGTHS, Case, cases
from .whole_model import WholeModel

# What the slowest tier computes in a second or two.
TOKENS_OF_ALL_TIERS = 1500
EXAMPLES_PER_FORM = 14

# (batch, length) around tiles of tokens and rows of keys, with primes between.
EDGES = [(1, 1), (64, 1), (63, 7), (17, 15), (16, 16), (7, 33), (3, 63), (5, 64), (2, 65), (13, 97), (1, 509), (2, 512)]


def test_the_odd_sizes_span_the_range() -> None:
    assert (min(ODD_BATCHES), max(ODD_BATCHES), min(ODD_LENGTHS), max(ODD_LENGTHS)) == (1, 64, 1, 512)


@pytest.mark.parametrize("number", range(len(EDGES)), ids=lambda i: f"{EDGES[i][0]}x{EDGES[i][1]}")
def test_edges(whole_model: WholeModel, number: int) -> None:
    batch, length = EDGES[number]
    whole_model.check(Case(batch, length, MASKS[number % len(MASKS)], number))


@settings(
    max_examples=EXAMPLES_PER_FORM,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(case=cases(TOKENS_OF_ALL_TIERS))
def test_any_batch(whole_model: WholeModel, case: Case) -> None:
    whole_model.check(case)


@pytest.mark.parametrize("mask", ["none", "mixed"])
def test_the_largest_batch(small_whole_model: WholeModel, mask: str) -> None:
    """More tokens than the slow tiers compute in a test's time."""
    small_whole_model.check(Case(64, 512, mask, 3), small_whole_model.tiers[-1:])


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(8000), tier=st.integers(1, 3))
def test_larger_batches(small_whole_model: WholeModel, case: Case, tier: int) -> None:
    tiers = small_whole_model.tiers
    small_whole_model.check(case, [tiers[min(tier, len(tiers) - 1)]])
