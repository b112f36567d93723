"""Batches of similar lengths, and outputs in their rows' own length."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyfastep.compress.tasks.base import run_batches


def test_every_row_gets_its_own_outputs_without_padding() -> None:
    rows = [{"input_ids": list(range(1, 2 + n % 23)), "attention_mask": [1] * (1 + n % 23)} for n in range(50)]

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert (feeds["input_ids"][feeds["attention_mask"] == 0] == 99).all()
        return {"double": 2 * feeds["input_ids"], "total": (feeds["input_ids"] * feeds["attention_mask"]).sum(axis=1)}

    seen = {}
    for index, outputs in run_batches(lambda feeds: {"double": run(feeds)["double"]}, rows, 99):
        seen[index] = outputs["double"].tolist()
    assert seen == {index: [2 * token for token in row["input_ids"]] for index, row in enumerate(rows)}
    totals = {i: out["total"] for i, out in run_batches(run, rows, 99, per_token=False)}
    assert totals == {index: sum(row["input_ids"]) for index, row in enumerate(rows)}
