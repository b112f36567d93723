"""Random layers of every description against the oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .capi import ACTIVATIONS, KINDS, Capi
from .cases import STORAGE_BLOCKS, make_spec, random_x, sparse_values
from .test_linear import check


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 150),
    n=st.integers(1, 90),
    k=st.integers(1, 140),
    pattern=st.sampled_from(STORAGE_BLOCKS),
    density=st.sampled_from([0.0, 0.03, 0.1, 0.3, 0.7, 1.0]),
    storage=st.sampled_from([None, *STORAGE_BLOCKS]),
    kind=st.sampled_from([None, *KINDS]),
    x_type=st.sampled_from(["u8", "s8"]),
    y_type=st.sampled_from(["u8", "s8", "f32"]),
    activation=st.sampled_from(ACTIVATIONS),
    threads=st.integers(1, 3),
)
def test_random_layers(
    capi: Capi,
    tier: str,
    seed: int,
    m: int,
    n: int,
    k: int,
    pattern: tuple[int, int],
    density: float,
    storage: tuple[int, int] | None,
    kind: str | None,
    x_type: str,
    y_type: str,
    activation: str,
    threads: int,
) -> None:
    rng = np.random.default_rng(seed)
    values = sparse_values(rng, n, k, pattern, density)
    spec = make_spec(rng, values, storage, x_type=x_type, y_type=y_type, activation=activation)
    check(capi, spec, random_x(rng, m, k, x_type), tier, kind, threads)
