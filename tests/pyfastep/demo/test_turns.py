"""Calls that take turns."""

from __future__ import annotations

from collections.abc import Callable

from pyfastep.demo import turns
from pyfastep.demo.turns import Spread


def test_turns_rotate_and_are_compared_one_by_one() -> None:
    order: list[str] = []
    values = iter(range(1, 100))

    def turn(name: str) -> Callable[[], float]:
        def act() -> float:
            order.append(name)
            return float(next(values))

        return act

    measured = turns.take_turns({"a": turn("a"), "b": turn("b")}, rounds=3, warmup=1)
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert measured == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}
    assert turns.ratios(measured["b"], measured["a"]).median == 8 / 7
    assert turns.spread([1.0, 2.0, 3.0]) == Spread(2.0, 1.2, 2.8, 3)


def test_a_limit_of_time_leaves_five_rounds() -> None:
    assert len(turns.take_turns({"a": lambda: 1.0}, rounds=50, seconds=0.0)["a"]) == 5
