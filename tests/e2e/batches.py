"""Batches of every shape and kind of mask, drawn from a seed so that a failing one can be named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

VOCABULARY = 97
POSITIONS = 512
MAX_BATCH = 64

Feeds = dict[str, NDArray[np.int64]]

MASKS = ("none", "right", "left", "holes", "hidden", "mixed")
"""Kinds of attention masks: no padding, padding behind or before the tokens, holes, whole rows hidden, all of these."""

# Around tiles (16 to 64 tokens), rows of keys (multiples of 16), quads; primes; the largest.
ODD_BATCHES = (1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 63, 64)
ODD_LENGTHS = (1, 2, 3, 4, 5, 7, 11, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97, 127, 128, 129, 257, 509, 512)


@dataclass(frozen=True)
class Case:
    """One batch."""

    batch: int
    length: int
    mask: str
    seed: int

    def attention_mask(self) -> NDArray[np.int64]:
        """``[batch, length]`` of 0 and 1."""
        rng = np.random.default_rng([self.seed, self.batch, self.length])
        kinds = MASKS[:-1] if self.mask == "mixed" else (self.mask,)
        return np.stack([_row(str(kind), self.length, rng) for kind in rng.choice(kinds, self.batch)])

    def feeds(self, names: Sequence[str]) -> Feeds:
        """Random tokens, also where the mask hides them, and token types, for the inputs of these names."""
        rng = np.random.default_rng([self.seed, self.length, self.batch])
        shape = (self.batch, self.length)
        values = {
            "input_ids": rng.integers(0, VOCABULARY, shape),
            "attention_mask": self.attention_mask(),
            "token_type_ids": rng.integers(0, 2, shape),
        }
        return {name: values[name] for name in names}


def _row(kind: str, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    count = int(rng.integers(1, length + 1))
    at = np.arange(length)
    if kind == "right":
        return (at < count).astype(np.int64)
    if kind == "left":
        return (at >= length - count).astype(np.int64)
    if kind == "holes":
        return (rng.random(length) < rng.uniform(0.1, 0.95)).astype(np.int64)
    return np.full(length, int(kind == "none"), np.int64)


def not_skipped(mask: NDArray[np.int64]) -> NDArray[np.bool_]:
    """``[batch, length]``: true up to the last visible token of each row, and at its first one."""
    visible_from_here = np.cumsum(mask[:, ::-1] != 0, axis=1)[:, ::-1] > 0
    visible_from_here[:, :1] = True
    return np.asarray(visible_from_here)


def random_case(rng: np.random.Generator, most_tokens: int) -> Case:
    """A batch of at most so many tokens; odd sizes as often as all others together."""
    length = int(rng.choice(ODD_LENGTHS) if rng.random() < 0.5 else rng.integers(1, POSITIONS + 1))
    fitting = max(1, min(MAX_BATCH, most_tokens // length))
    batch = int(
        rng.choice([b for b in ODD_BATCHES if b <= fitting]) if rng.random() < 0.5 else rng.integers(1, fitting + 1)
    )
    return Case(batch, length, str(rng.choice(MASKS)), int(rng.integers(0, 2**31)))


@st.composite
def cases(draw: st.DrawFn, most_tokens: int) -> Case:
    """Batches of at most so many tokens: hypothesis finds the smallest that fails."""
    length = draw(st.sampled_from(ODD_LENGTHS) | st.integers(1, POSITIONS))
    fitting = max(1, min(MAX_BATCH, most_tokens // length))
    batch = draw(st.sampled_from([b for b in ODD_BATCHES if b <= fitting]) | st.integers(1, fitting))
    return Case(batch, length, draw(st.sampled_from(MASKS)), draw(st.integers(0, 2**31 - 1)))
