"""Values outside of what a field says are refused, and the field is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from pyfastep.compress.checked import Checked, number
from pyfastep.errors import FastEPError


@dataclass(frozen=True)
class Example(Checked):
    kind: Literal["a", "b"] = "a"
    share: float | Literal["auto"] = number("auto", least=0.0, most=1.0)
    counts: tuple[int, ...] = number((1,), least=1)
    low: int = 0

    def _check(self) -> None:
        if self.low > self.counts[0]:
            raise FastEPError("expected at most the first of counts", node="low")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "c"}, r"kind: expected one of a, b, found 'c'"),
        ({"share": "all"}, r"share: expected a number or one of auto, found 'all'"),
        ({"share": 1.5}, r"share: expected a number between 0 and 1, found 1.5"),
        ({"share": float("nan")}, r"share: expected a number between 0 and 1, found nan"),
        ({"counts": (3, 0)}, r"counts: expected a number at least 1, found 0"),
        ({"low": 2}, r"low: expected at most the first of counts"),
    ],
)
def test_what_a_field_does_not_take_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(FastEPError, match=message):
        Example(**values)


def test_ends_of_ranges_and_words_are_taken() -> None:
    assert [Example(share=share).share for share in (0, 1.0, "auto")] == [0, 1.0, "auto"]
    assert Example("b", 0.5, (1, 9)).counts == (1, 9)
