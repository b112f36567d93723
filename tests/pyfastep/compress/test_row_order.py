"""The order of rows is that of the seed and the epoch, wherever one begins."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")
pytest.importorskip("transformers")

from pyfastep.compress.row_order import EpochSampler  # noqa: E402

LENGTHS = [5 + index * 7 % 13 for index in range(400)]


def loader(seed: int) -> Any:
    sampler = EpochSampler(LENGTHS, batch_size=8, seed=seed)
    rows = torch.utils.data.DataLoader(torch.arange(len(LENGTHS)), batch_size=4, sampler=sampler)
    return accelerate.Accelerator().prepare(rows)


def epoch(rows: Any, number: int) -> list[list[int]]:
    rows.set_epoch(number)
    return [batch.tolist() for batch in rows]


def test_each_epoch_and_seed_has_an_order_of_its_own() -> None:
    rows = loader(3)
    orders = [epoch(rows, number) for number in range(3)]
    orders.append(epoch(loader(4), 0))
    assert all(sorted(row for batch in order for row in batch) == list(range(400)) for order in orders)
    assert len({str(order) for order in orders}) == 4


def test_rows_of_similar_length_are_together() -> None:
    spans = [max(lengths) - min(lengths) for lengths in ([LENGTHS[i] for i in batch] for batch in epoch(loader(3), 0))]
    assert sum(spans) / len(spans) < 2  # of 12; batches drawn at random have 8


def test_another_process_goes_on_in_the_same_order() -> None:
    """accelerate leaves out the batches that were trained on, with a loader of its own around the sampler."""
    whole = loader(3)
    orders = [epoch(whole, number) for number in range(3)]
    torch.manual_seed(99)
    again = loader(3)
    again.set_epoch(2)
    rest = accelerate.skip_first_batches(again, 5)
    assert [batch.tolist() for batch in rest] == orders[2][5:]


@pytest.mark.parametrize("first", [1, 7, 100, 399, 400])
def test_the_first_rows_come_before_all_others(first: int) -> None:
    sampler = EpochSampler(LENGTHS, batch_size=8, seed=3, first=first)
    orders = []
    for number in range(2):
        sampler.set_epoch(number)
        order = list(sampler)
        assert sorted(order[:first]) == list(range(first))
        assert sorted(order) == list(range(400))
        orders.append(order)
    assert orders[0] != orders[1]


def test_fewer_rows_than_come_first() -> None:
    """As in the few that are timed before a training."""
    alone, first = (list(EpochSampler(LENGTHS, batch_size=8, seed=3, first=count)) for count in (0, 500))
    assert first == alone
