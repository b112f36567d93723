"""Why a model is not faster, in words: read off its profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyfastep._ep import TO_FASTEP
from pyfastep.profile.recording import Product, RecordedStep, RecordedSubgraph
from pyfastep.profile.result import ProfileReport
from pyfastep.session import NOTHING_TO_RUN

_UNPRUNED = 0.9  # density from which on nobody pruned the weights
_SCATTERED = 1.5  # products done / weights that are not 0
_FITS = 1.15  # products of a block shape / weights that are not 0: the weights are of this shape
_WORTH = 1.2  # times faster
_MUCH = 0.05  # of a run
_MANY_WEIGHTS = 0.01  # of all
_EMPTY_LANES = 0.15
_WANTED = "blocks of 4x4, or 4x1 on torch's [out, in] weight"

_Linear = tuple[str, Product]


def find_hints(
    report: ProfileReport,
    steps: Sequence[RecordedStep],
    subgraphs: Sequence[RecordedSubgraph],
    warnings: Sequence[str] = (),
) -> tuple[str, ...]:
    """What could make the model faster, or explains why it is not.

    Args:
        report: The profile without hints.
        steps: Its steps as the library wrote them.
        subgraphs: All of them.
        warnings: What was said when the session was opened.
    """
    linears = [(step.nodes[0], step.product) for step in steps if step.product is not None]
    pruned = [item for item in linears if item[1].density <= _UNPRUNED]
    return (
        *warnings,
        *(() if NOTHING_TO_RUN in warnings else _nothing_runs(report)),
        *_other_nodes(report),
        *_overhead(report),
        *_several_subgraphs(subgraphs),
        *_unpruned(linears),
        *_wrong_orientation(pruned),
        *_scattered_zeros(pruned),
        *_too_few_zeros(pruned),
        *_empty_lanes(report, subgraphs),
        *_padding(report, subgraphs),
    )


def _nothing_runs(report: ProfileReport) -> Iterator[str]:
    if not report.steps:
        yield f"FastEP runs nothing of this model: {TO_FASTEP}, then ask `fastep doctor` about it"


def _other_nodes(report: ProfileReport) -> Iterator[str]:
    if not report.steps or report.other_ms < _MUCH * report.run_ms:
        return
    top = ", ".join(f"{kind} {ms:.2f} ms" for kind, ms in report.other_types[:3])
    yield (
        f"{report.other_ms / report.run_ms:.0%} of the time is in {len(report.other_nodes)} nodes outside of FastEP "
        f"({top}); `fastep convert` says why it leaves nodes alone"
    )


def _overhead(report: ProfileReport) -> Iterator[str]:
    if report.overhead_ms > _MUCH * report.run_ms:
        yield (
            f"{report.overhead_ms / report.run_ms:.0%} of the time is spent between nodes, in ONNX Runtime and Python; "
            "in larger batches and longer inputs it is a smaller part"
        )


def _several_subgraphs(subgraphs: Sequence[RecordedSubgraph]) -> Iterator[str]:
    if len(subgraphs) > 1:
        yield (
            f"FastEP's nodes are in {len(subgraphs)} subgraphs, because nodes of other kinds stand between them; "
            "values are unpacked and packed at their borders"
        )


def _named(found: Sequence[_Linear]) -> str:
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0][0]}{more}"


def _unpruned(linears: Sequence[_Linear]) -> Iterator[str]:
    """Layers that stayed dense beside pruned ones."""
    dense = [item for item in linears if item[1].density > _UNPRUNED]
    if not dense or len(dense) == len(linears):
        return
    share = sum(p.n * p.k for _, p in dense) / sum(p.n * p.k for _, p in linears)
    if share >= _MANY_WEIGHTS:
        yield f"{_named(dense)}: dense although other layers are pruned ({share:.0%} of all weights)"


def _is_shape(product: Product, kind: str) -> bool:
    return product.kind_density.get(kind, 1.0) < _FITS * product.density


def _wrong_orientation(pruned: Sequence[_Linear]) -> Iterator[str]:
    """Blocks along the inputs: 4x1 looks like this if it was cut from the transposed weight of an ONNX MatMul."""
    found = [item for item in pruned if _is_shape(item[1], "1x4") and not _is_blocked(item[1])]
    if not found:
        return
    tall, square = (max(_gain_as(product, kernel) for _, product in found) for kernel in ("4x1", "4x4"))
    if max(tall, square) > _WORTH:
        yield (
            f"{_named(found)}: the weights are in blocks of 1 output x 4 inputs (1x4); blocks of 4 outputs x 1 input "
            f"(4x1 on torch's [out, in] weight) would run {tall:.1f}x as fast, 4x4 {square:.1f}x: cut the other way"
        )


def _is_blocked(product: Product) -> bool:
    return _is_shape(product, "4x1") or _is_shape(product, "4x4")


def _gain_as(product: Product, kernel: str) -> float:
    """Times faster with as many weights in blocks of another shape, by the prediction at the nearest density."""
    predicted = {density: cycles for (name, density), cycles in product.predictions.items() if name == kernel}
    if not predicted:
        return 1.0
    return product.cycles / predicted[min(predicted, key=lambda density: abs(density - product.density))]


def _is_scattered(product: Product) -> bool:
    return product.work_density > _SCATTERED * product.density


def _scattered_zeros(pruned: Sequence[_Linear]) -> Iterator[str]:
    found = [item for item in pruned if _is_scattered(item[1])]
    if found:
        product = max((product for _, product in found), key=lambda p: p.work_density - p.density)
        yield (
            f"{_named(found)}: {1 - product.density:.0%} of the weights are 0, but {product.work_density:.0%} of the "
            f"products are done: zeros can be skipped in {_WANTED} only"
        )


def _too_few_zeros(pruned: Sequence[_Linear]) -> Iterator[str]:
    """Zeros in blocks, but too few of them to win."""
    found = [item for item in pruned if not _is_scattered(item[1]) and not _pays(item[1], item[1].cycles)]
    if not found:
        return
    product = found[0][1]
    blocks = {density: cycles for (kernel, density), cycles in product.predictions.items() if kernel == "4x4"}
    faster = [density for density, cycles in blocks.items() if _pays(product, cycles)]
    enough = f"; {1 - max(faster):.0%} in blocks of 4x4 would pay" if faster else ""
    yield f"{_named(found)}: {1 - product.density:.0%} zeros are too few, without any it is nearly as fast{enough}"


def _pays(product: Product, cycles: float) -> bool:
    """Whether a layer gains by its zeros."""
    return product.predictions.get(("dense", 1.0), cycles) > _WORTH * cycles


def _empty_lanes(report: ProfileReport, subgraphs: Sequence[RecordedSubgraph]) -> Iterator[str]:
    tokens, lanes = sum(s.tokens for s in subgraphs), sum(s.lanes for s in subgraphs)
    if lanes > 0 and 1 - tokens / lanes > _EMPTY_LANES:
        yield (
            f"{1 - tokens / lanes:.0%} of the lanes are empty: {report.batch} x {report.length} tokens do not fill "
            "tiles of 16; larger batches do"
        )


def _padding(report: ProfileReport, subgraphs: Sequence[RecordedSubgraph]) -> Iterator[str]:
    attending = [s for s in subgraphs if any("attention" in step.op for step in s.steps)]
    if report.batch > 1 and attending and not any(s.skips_padding for s in attending):
        yield (
            "tokens of padding are computed: if nothing reads the outputs there, the option skip_padding=1 leaves them "
            "out (docs/ep-options.md)"
        )
