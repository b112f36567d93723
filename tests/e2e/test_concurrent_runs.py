"""Several threads in one session at the same time, each with batches of its own: every Run has its own arena."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from .batches import Case, random_case
from .whole_model import WholeModel, assert_same_bits

CALLERS = 4
ROUNDS = 40
MOST_TOKENS = 700


def batches_of(caller: int) -> list[Case]:
    """Other shapes for every caller."""
    rng = np.random.default_rng(caller)
    return [random_case(rng, MOST_TOKENS) for _ in range(6)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("skip_padding", [False, True], ids=["all", "skip"])
def test_concurrent_runs_change_no_bit(whole_model: WholeModel, threads: int, skip_padding: bool) -> None:
    session = whole_model.session(whole_model.tiers[-1], threads, skip_padding)
    cases = [batches_of(caller) for caller in range(CALLERS)]
    feeds = [[case.feeds(whole_model.inputs) for case in mine] for mine in cases]
    expected = [[session.run(None, batch) for batch in mine] for mine in feeds]
    start = threading.Barrier(CALLERS)
    failures: list[Any] = []

    def call(caller: int) -> None:
        start.wait()
        try:
            for turn in range(ROUNDS):
                at = turn % len(feeds[caller])
                assert_same_bits(session.run(None, feeds[caller][at]), expected[caller][at], cases[caller][at])
        except BaseException as error:
            failures.append(error)

    callers = [threading.Thread(target=call, args=(caller,)) for caller in range(CALLERS)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert not failures, failures[0]
    assert_same_bits(session.run(None, feeds[0][0]), expected[0][0], "after all callers are done")
