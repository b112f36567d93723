"""Inputs that a session must refuse: a clear error, nothing corrupted, and the next Run works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .batches import POSITIONS, VOCABULARY, Case
from .whole_model import WholeModel, assert_same_bits

GOOD = Case(3, 20, "mixed", 1)
Feeds = dict[str, Any]


def too_long(feeds: Feeds) -> Feeds:
    return Case(2, POSITIONS + 1, "none", 0).feeds(list(feeds))


def ids_with(value: int) -> Callable[[Feeds], Feeds]:
    def damage(feeds: Feeds) -> Feeds:
        ids = feeds["input_ids"].copy()
        ids[-1, -1] = value
        return {**feeds, "input_ids": ids}

    return damage


def mask_as(change: Callable[[Any], Any]) -> Callable[[Feeds], Feeds]:
    return lambda feeds: {**feeds, "attention_mask": change(feeds["attention_mask"])}


def without_mask(feeds: Feeds) -> Feeds:
    return {name: values for name, values in feeds.items() if name != "attention_mask"}


# What is wrong, how, and what the message must say: what was expected, what was found.
BAD: dict[str, tuple[Callable[[Feeds], Feeds], str]] = {
    "longer than the positions": (too_long, rf"at most {POSITIONS} tokens.*found {POSITIONS + 1}; shorten"),
    "negative id": (
        ids_with(-1),
        rf"'input_ids' must be in \[0, {VOCABULARY}\), found -1 at \[2, 19\]; check the tokenizer",
    ),
    "id behind the table": (ids_with(VOCABULARY), rf"must be in \[0, {VOCABULARY}\), found {VOCABULARY} at \[2, 19\]"),
    "id that fits no int32": (ids_with(2**32 + 1), r"found 4294967297 at \[2, 19\]"),
    "short mask": (mask_as(lambda m: m[:, :-1]), r"'attention_mask'.*expected.*\[3, 20\], found \[3, 19\]"),
    "long mask": (mask_as(lambda m: np.pad(m, ((0, 0), (0, 1)))), r"'attention_mask'.*\[3, 20\], found \[3, 21\]"),
    "mask of fewer rows": (mask_as(lambda m: m[:-1]), r"'attention_mask'.*\[3, 20\], found \[2, 20\]"),
    "mask of one row": (mask_as(lambda m: m[:1]), r"'attention_mask'.*\[3, 20\], found \[1, 20\]"),
    "empty mask": (mask_as(lambda m: m[:0]), r"'attention_mask'.*\[3, 20\], found \[0, 20\]"),
    "mask of rank 1": (mask_as(lambda m: m[0]), r"(?i)rank.*attention_mask.*Got: 1 Expected: 2"),
    "mask of rank 4": (mask_as(lambda m: m[:, None, None]), r"(?i)rank.*attention_mask.*Got: 4 Expected: 2"),
    "float mask": (mask_as(lambda m: m.astype(np.float32)), r"tensor\(float\).*expected: \(tensor\(int64\)\)"),
    "boolean mask": (mask_as(lambda m: m != 0), r"tensor\(bool\).*expected: \(tensor\(int64\)\)"),
    "no mask": (without_mask, r"'attention_mask'.*missing"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_inputs(small_whole_model: WholeModel, what: str) -> None:
    damage, message = BAD[what]
    feeds = GOOD.feeds(small_whole_model.inputs)
    for tier in small_whole_model.tiers:
        for skip_padding in (False, True):
            session = small_whole_model.session(tier, 2, skip_padding)
            before = session.run(None, feeds)
            for _ in range(2):  # the second finds what the first left behind
                with pytest.raises(Exception, match=message):  # ONNX Runtime's errors share no base
                    session.run(None, damage(feeds))
            assert_same_bits(session.run(None, feeds), before, (what, tier))


@pytest.mark.parametrize(("batch", "length"), [(0, 20), (3, 0), (0, 0)])
def test_nothing_in_gives_nothing(small_whole_model: WholeModel, batch: int, length: int) -> None:
    feeds = {name: values[:batch, :length] for name, values in GOOD.feeds(small_whole_model.inputs).items()}
    for tier in small_whole_model.tiers:
        for skip_padding in (False, True):
            found = small_whole_model.session(tier, 2, skip_padding).run(None, feeds)
            assert [y.shape for y in found] == [(batch, length)] * 2
