"""What padding costs: batches of sequences of many lengths against the same sequences one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyfastep.bench.inputs import Inputs, make_inputs, vocabulary_size
from pyfastep.demo.build import BuiltModel
from pyfastep.demo.figures.figure import Figure, Section
from pyfastep.demo.figures.worker import open_fastep
from pyfastep.demo.turns import ratios, seconds_of, spread, take_turns

__all__ = ["measure_padding"]

_PADDED = 128
_MOST = 1.15
_ROUNDS = 20
_TITLE = "Padding and short sequences, one thread"
_NOTES = (
    "Batch / one by one: time of one call with skip_padding=1 / sum of the times of its sequences in calls alone.",
)


def measure_padding(built: BuiltModel, progress: Callable[[str], None]) -> Section:
    """Measures one converted model."""
    session = open_fastep(built.fastep, 1, skip_padding="1")
    vocabulary = vocabulary_size(built.fastep)
    mixed = np.random.default_rng(0).integers(16, _PADDED + 1, 16).tolist()
    figures = []
    for what, counts, padded in (
        (f"16 sequences of 16 to {_PADDED} tokens", mixed, _PADDED),
        ("64 sequences of 7 tokens", [7] * 64, _PADDED),
        ("64 sequences of 7 tokens", [7] * 64, 7),
    ):
        progress(f"{what} in {padded}")
        batch = make_inputs(session, len(counts), padded, vocabulary=vocabulary)
        batch["attention_mask"] = (np.arange(padded) < np.array(counts)[:, None]).astype(np.int64)
        figures.append(_figure(built, session, f"{what}: batch / one by one", counts, batch))
    return Section("padding", _TITLE, tuple(figures), _NOTES)


def _figure(built: BuiltModel, session: Any, what: str, counts: Sequence[int], batch: Inputs) -> Figure:
    rows = [{name: x[i : i + 1, :count] for name, x in batch.items()} for i, count in enumerate(counts)]

    def one_by_one() -> None:
        for row in rows:
            session.run(None, row)

    turns = {"batch": seconds_of(lambda: session.run(None, batch)), "one by one": seconds_of(one_by_one)}
    times = take_turns(turns, rounds=_ROUNDS)
    return Figure(
        f"{built.model.title}: {what}",
        " x ".join(map(str, batch["attention_mask"].shape)),
        ratios(times["batch"], times["one by one"]),
        floor=_MOST,
        less_is_better=True,
        detail=" / ".join(f"{spread(seconds).median * 1e3:.2f} ms" for seconds in times.values()),
    )
