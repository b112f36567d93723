"""Calls that take turns, and ratios of what they took: a drift of the machine meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Spread", "ratios", "seconds_of", "spread", "take_turns"]

_LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Spread:
    """Median, 10th and 90th percentile, and of how many values."""

    median: float
    p10: float
    p90: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    p10, median, p90 = (float(q) for q in np.percentile(values, [10, 50, 90]))
    return Spread(median, p10, p90, len(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The spread of quotients, turn by turn: of values that were measured right after each other."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def seconds_of(call: Callable[[], object]) -> Callable[[], float]:
    """A turn that takes one call and tells its seconds."""

    def turn() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return turn


def take_turns(
    turns: Mapping[str, Callable[[], float]], *, rounds: int = 25, seconds: float = 20.0, warmup: int = 2
) -> dict[str, list[float]]:
    """Lets everyone have a turn, `rounds` times, in an order that rotates.

    Args:
        turns: By name, what to do and measure; it returns what it measured.
        rounds: Turns of each.
        seconds: No new round begins after this time; five are always made.
        warmup: Turns before that, not kept.

    Returns:
        By name, what was measured, in order of the rounds.
    """
    names = list(turns)
    for name in names * warmup:
        turns[name]()
    measured: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    for turn in range(rounds):
        if turn >= _LEAST_ROUNDS and time.perf_counter() > end:
            break
        shift = turn % len(names)
        for name in (*names[shift:], *names[:shift]):
            measured[name].append(turns[name]())
    return measured
