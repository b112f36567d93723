"""Every way to run one converted model: tiers, thread counts, padding computed or skipped; and what all must return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort

from .batches import Case, not_skipped
from .model_oracle import ModelOracle
from .small_encoders import SmallEncoder

THREADS = (1, 2, 3)
# The oracle computes this many tokens of a batch at most: whole sequences, which do not see each other.
ORACLE_TOKENS = 600

OpenSession = Callable[..., ort.InferenceSession]


class WholeModel:
    """One small encoder, its sessions and its oracle; sessions are opened when they are first needed."""

    def __init__(self, encoder: SmallEncoder, open_session: OpenSession, tiers: list[str]) -> None:
        self.encoder = encoder
        self.tiers = tiers
        self.oracle = ModelOracle(encoder.converted)
        self._open = open_session
        self._sessions: dict[tuple[str, int, bool], ort.InferenceSession] = {}
        self.inputs = [entry.name for entry in self.session(tiers[0], 1, False).get_inputs()]

    def session(self, tier: str, threads: int, skip_padding: bool) -> ort.InferenceSession:
        """A session with FastEP in which every fastep node must run there."""
        key = (tier, threads, skip_padding)
        if key not in self._sessions:
            options = {"max_tier": tier, "skip_padding": str(int(skip_padding))}
            self._sessions[key] = self._open(self.encoder.converted, threads=threads, options=options)
        return self._sessions[key]

    def check(self, case: Case, tiers: list[str] | None = None) -> None:
        """Runs the batch in every way; all bits must be those of the oracle."""
        feeds = case.feeds(self.inputs)
        mask = feeds["attention_mask"]
        first = self.session(self.tiers[-1], THREADS[case.seed % len(THREADS)], False).run(None, feeds)
        self._check_rows(case, feeds, first)
        skipped = [np.where(_like(not_skipped(mask), y), y, np.float32(0)) for y in first]
        for number, tier in enumerate(tiers or self.tiers):
            for skip_padding, expected in ((False, first), (True, skipped)):
                # All thread counts are met over the cases.
                threads = THREADS[(case.seed + number + skip_padding) % len(THREADS)]
                found = self.session(tier, threads, skip_padding).run(None, feeds)
                assert_same_bits(found, expected, (case, tier, threads, f"skip_padding={int(skip_padding)}"))

    def _check_rows(self, case: Case, feeds: dict[str, Any], outputs: list[Any]) -> None:
        """A few sequences, alone, by the oracle: the batch around them changes no bit."""
        rng = np.random.default_rng(case.seed)
        count = min(case.batch, max(1, ORACLE_TOKENS // case.length))
        rows = np.sort(rng.choice(case.batch, count, replace=False))
        expected = self.oracle.run({name: values[rows] for name, values in feeds.items()})
        assert_same_bits([y[rows] for y in outputs], expected, (case, "against the oracle, rows", rows))


def _like(mask: Any, y: Any) -> Any:
    return mask.reshape(mask.shape + (1,) * (y.ndim - 2))


def assert_same_bits(found: list[Any], expected: list[Any], what: object) -> None:
    """Equal shapes, types and bits."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype == np.float32
        assert ours.shape == theirs.shape, what
        differ = ours.view(np.uint32) != theirs.view(np.uint32)
        assert not differ.any(), f"{what}: {differ.sum()} of {differ.size} differ, first at {np.argwhere(differ)[0]}"
